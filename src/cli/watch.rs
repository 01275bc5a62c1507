//! `eastwatch watch`: live mirror sources, until stopped. Never sends a packet.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::signal::unix::{SignalKind, signal};

use crate::api::{self, Health, Server, Sight};
use crate::brain::Teller;
use crate::capture::{self, HoldBack, Listen, ListenKind, LiveConfig, Mirrors};
use crate::config::Loaded;
use crate::deliver::Eve;
use crate::model::Timestamp;
use crate::runtime::{Follower, Handovers, Mail, Plan, Recorder, Recording, Surveyed, mailbox, run as run_pipeline};

use super::args::{Global, RunArgs, WatchArgs};
use super::place::SYSTEM_STATE;
use super::read::{close, open};
use super::{Failure, settings, signals};

/// Packet time is moved by the wall clock after this long without a packet.
const SILENCE: Duration = Duration::from_secs(1);
/// How long a stop waits for the control socket to be closed; it takes 50 ms.
const EDGE_ENDS: Duration = Duration::from_secs(2);
/// How long a stop waits for a shared folder; what it does not take is in the state.
const FOLLOWER_ENDS: Duration = Duration::from_secs(5);
/// How often the kernel is asked what it dropped.
const LOSSES_EVERY: Duration = Duration::from_secs(1);

pub fn run(global: &Global, mut loaded: Loaded, args: WatchArgs) -> Result<(), Failure> {
    settings::overlay(&mut loaded, &args.run)?;
    listeners(&mut loaded, &args)?;
    let dir = loaded.config.store.dir.clone().unwrap_or_else(|| PathBuf::from(SYSTEM_STATE));
    let workers = settings::workers(&args.run)?;
    let apps = settings::apps(&loaded.config, false)?;
    let live =
        Mirrors::open(&args.interface, args.run.filter.as_deref(), &loaded.config.capture).map_err(Failure::run)?;
    if !global.quiet {
        caveats(&live, &args, &loaded.config.capture);
    }
    let mut brain = open(global, &loaded, &dir, crate::store::MadeBy::Watch, &args.run)?;
    settings::name_by(global, &mut brain, &apps.definitions, apps.recog);
    brain.tell(Teller::new(args.run.eve.as_deref().map(Eve::open).transpose().map_err(Failure::run)?));
    let follow = loaded.config.baseline.follow.as_deref();
    let recorder = args
        .record
        .as_deref()
        .map(|path| Recorder::create(path, follow.is_some()))
        .transpose()
        .map_err(Failure::run)?;
    let follower = follow.map(Follower::start).transpose().map_err(|e| Failure::run(format!("no thread: {e}")))?;
    let (answers, following) = match follower {
        Some((follower, answers, thread)) => {
            brain.follow(Box::new(follower));
            (Some(answers), Some(thread))
        }
        None => (None, None),
    };
    let own = capture::addresses().into_iter().map(|(_, address)| address).collect();
    let several = args.interface.len() + loaded.config.capture.listen.len() > 1;
    let surveyed = Surveyed::new(live, &loaded.config.decode, own);
    let mut source = Recording::new(Handovers::new(HoldBack::new(surveyed, several), answers), recorder);
    let plan = Plan {
        workers,
        decode: loaded.config.decode(),
        limits: settings::shard_limits(&loaded.config),
        definitions: apps.definitions,
        seed: seed(),
        full_ends: false,
        disk_full: Arc::default(),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let mail = mailbox();
    let sight = Arc::new(Sight::default());
    let edge = Edge {
        socket: api::socket_path(&dir),
        mail: mail.0.clone(),
        stop: Arc::clone(&stop),
        global: global.clone(),
        run: args.run.clone(),
        loaded: loaded.clone(),
        listen: args.listen.clone(),
        sight: Arc::clone(&sight),
    };
    let edge_gone = edge.start()?;
    if !global.quiet {
        let listeners = loaded.config.capture.listen.iter().map(ToString::to_string);
        let sources: Vec<String> = args.interface.iter().cloned().chain(listeners).collect();
        eprintln!("eastwatch: watching {}; Ctrl-C stops", sources.join(", "));
    }
    let mut last_packet = Instant::now();
    let mut last_losses = Instant::now();
    let sources = mail.0.clone();
    let outcome = run_pipeline(&plan, &mut source, brain, mail, &stop, |source, _, idle| {
        if last_losses.elapsed() >= LOSSES_EVERY {
            last_losses = Instant::now();
            let losses = source.losses();
            sight.is(losses.iter().any(|source| source.gone) || plan.disk_full.load(Ordering::Relaxed));
            // The brain may be busy for a moment: it hears the next figures instead.
            let _ = sources.try_send(Mail::Sources(losses));
        }
        if !idle.0 {
            last_packet = Instant::now();
        }
        (last_packet.elapsed() >= SILENCE).then(wall_clock)
    })
    .map_err(Failure::run)?;
    let stopped = stop.swap(true, Ordering::Relaxed);
    // The socket goes before the lock does: a successor's socket must not be the one that is removed.
    let _ = edge_gone.recv_timeout(EDGE_ENDS);
    let recorded = source.finish();
    let intake = outcome.intake;
    let closed = close(outcome.brain);
    // What was learned last is on its way to the shared folder.
    let began = Instant::now();
    while following.as_ref().is_some_and(|thread| !thread.is_finished()) && began.elapsed() < FOLLOWER_ENDS {
        std::thread::sleep(Duration::from_millis(10));
    }
    if !global.quiet {
        eprintln!("eastwatch: stopped after {} packets; the state is saved", super::summary::grouped(intake.packets));
    }
    recorded.map_err(Failure::run)?;
    if let Some(trouble) = outcome.kept.trouble {
        return Err(Failure::run(trouble));
    }
    closed?;
    match outcome.faults.last() {
        // What broke on the way was told then; a probe that was asked to stop has done what it was asked.
        Some(fault) if !stopped => Err(Failure::run(fault)),
        _ => Ok(()),
    }
}

/// The listeners of the command line over those of the configuration; without any source there is nothing to watch.
fn listeners(loaded: &mut Loaded, args: &WatchArgs) -> Result<(), Failure> {
    if !args.listen.is_empty() {
        loaded.config.capture.listen.clone_from(&args.listen);
        loaded.from_command_line("capture.listen", "--listen");
    }
    if args.interface.is_empty() && loaded.config.capture.listen.is_empty() {
        return Err(Failure::usage(
            "nothing to watch: name an interface (-i IFACE) or a listener (--listen KIND:PORT)",
        ));
    }
    Ok(())
}

/// What works less well than the command line may let one think.
fn caveats(mirrors: &Mirrors, args: &WatchArgs, config: &LiveConfig) {
    for (name, granted) in mirrors.small_buffers(config) {
        eprintln!(
            "eastwatch: {name}: the kernel grants {} KiB of receive buffer; for all {} MiB: sysctl -w \
             net.core.rmem_max={}",
            granted >> 10,
            config.buffer_mib,
            usize::from(config.buffer_mib) << 20,
        );
    }
    if args.run.filter.is_some() && config.listen.iter().any(|listen| listen.kind != ListenKind::Pcap) {
        eprintln!("eastwatch: --filter applies to interfaces and capture streams; datagrams of --listen all pass");
    }
}

/// What runs beside the pipeline: the control socket, health checks and the signals.
struct Edge {
    socket: PathBuf,
    mail: SyncSender<Mail>,
    stop: Arc<AtomicBool>,
    global: Global,
    run: RunArgs,
    loaded: Loaded,
    listen: Vec<Listen>,
    sight: Arc<Sight>,
}

impl Edge {
    /// The receiver hears, by its sender's end, that the socket is gone.
    fn start(self) -> Result<Receiver<()>, Failure> {
        let runtime = signals::runtime()?;
        let server = {
            let _inside = runtime.enter();
            Server::bind(&self.socket).map_err(|e| Failure::run(format!("{}: {e}", self.socket.display())))?
        };
        let hangup = {
            let _inside = runtime.enter();
            signal(SignalKind::hangup()).map_err(|e| Failure::run(format!("no signal handler: {e}")))?
        };
        let health = {
            let _inside = runtime.enter();
            let bind = |address| {
                Health::bind(address, Arc::clone(&self.sight))
                    .map_err(|e| Failure::run(format!("[health] listen = \"{address}\": {e}; name a free port here")))
            };
            self.loaded.config.health.listen.map(bind).transpose()?
        };
        let (gone, edge_gone) = channel();
        let edge = move || runtime.block_on(self.live(server, health, hangup, gone));
        std::thread::Builder::new()
            .name("edge".to_owned())
            .spawn(edge)
            .map_err(|e| Failure::run(format!("no thread for the control socket: {e}")))?;
        Ok(edge_gone)
    }

    /// Until the pipeline has stopped; then the sockets go away.
    async fn live(
        mut self,
        server: Server,
        health: Option<Health>,
        mut hangup: tokio::signal::unix::Signal,
        gone: Sender<()>,
    ) {
        let stop = Arc::clone(&self.stop);
        let stopped = async {
            while !stop.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let mail = self.mail.clone();
        let interrupts = Arc::clone(&self.stop);
        tokio::spawn(async move { signals::wait(&interrupts).await });
        let checks = async {
            match &health {
                Some(health) => health.serve().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stopped => {}
            () = checks => {}
            () = api::serve(&server, mail) => {}
            () = async { loop { hangup.recv().await; self.reload(); } } => {}
        }
        drop((server, health));
        drop(gone);
        // A second signal must still end a drain that hangs.
        signals::wait(&self.stop).await;
    }

    /// The new configuration, or the old one and why. What only a start can change is told.
    fn reload(&mut self) {
        let read = settings::loaded(&self.global).and_then(|mut loaded| {
            settings::overlay(&mut loaded, &self.run)?;
            if !self.listen.is_empty() {
                loaded.config.capture.listen.clone_from(&self.listen);
            }
            Ok(loaded)
        });
        let loaded = match read {
            Ok(loaded) => loaded,
            Err(failure) => {
                eprintln!("eastwatch: SIGHUP: {}; the configuration in force stays", failure.text);
                let _ = self.mail.send(Mail::Reopen);
                return;
            }
        };
        let (old, new) = (&self.loaded.config, &loaded.config);
        let fixed = [
            ("[capture]", old.capture != new.capture),
            ("[decode]", old.decode != new.decode),
            ("[limits]", old.limits != new.limits),
            ("[flow]", old.flow != new.flow),
            ("[store]", old.store != new.store),
            ("[detect]", old.detect != new.detect),
            ("[health]", old.health != new.health),
            ("[apps]", old.apps != new.apps),
            ("[baseline] follow", old.baseline.follow != new.baseline.follow),
        ];
        let changed: Vec<&str> = fixed.iter().filter(|(_, changed)| *changed).map(|(name, _)| *name).collect();
        let later = match changed.as_slice() {
            [] => String::new(),
            names => format!("; {} changes only at the next start", names.join(", ")),
        };
        eprintln!("eastwatch: SIGHUP: configuration read anew{later}");
        let mut config = new.brain();
        config.flows = self.run.flows;
        let _ = self.mail.send(Mail::Reload(Box::new(config)));
        let _ = self.mail.send(Mail::Reopen);
        self.loaded = loaded;
    }
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_parts(since.as_secs(), u64::from(since.subsec_nanos()))
}

/// Unpredictable from outside, so that nobody can aim at the hash tables of a live probe.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}
