//! `eastwatch read`: captures in, inventory and incidents out, then the end.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::brain::{Brain, Capture, Teller};
use crate::capture::{Files, Source, digest, stored_bytes};
use crate::config::Loaded;
use crate::deliver::Eve;
use crate::inventory::{Imported, InventoryFile};
use crate::runtime::{CLOCK_LINK, Intake, Plan, Shelf, mailbox, run as run_pipeline};
use crate::store::{self, MadeBy, Options};

use super::args::{Global, ReadArgs, RunArgs};
use super::output::write_out;
use super::place::LOCAL_STATE;
use super::{Failure, settings, signals, summary};

/// A query that has the state open for a moment must not keep a probe from starting again.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Hash seed of `read`: fixed, so that the same input gives the same bytes.
pub const READ_SEED: u64 = 0x6561_7374_7761_7463;

pub fn run(global: &Global, mut loaded: Loaded, args: ReadArgs) -> Result<(), Failure> {
    settings::overlay(&mut loaded, &args.run)?;
    let dir = loaded.config.store.dir.clone().unwrap_or_else(|| PathBuf::from(LOCAL_STATE));
    let workers = settings::workers(&args.run)?;
    let apps = settings::apps(&loaded.config, false)?;
    // Nothing is opened, made or cleared for a file that is not there.
    args.files.iter().try_for_each(|file| stored_bytes(file).map(drop)).map_err(Failure::run)?;
    if args.fresh {
        // A typing mistake must not cost the state: nothing is cleared for what cannot be read. A pipe can be
        // opened once only.
        if args.files.iter().all(|file| file.is_file()) {
            Files::open(&args.files, args.run.filter.as_deref()).map_err(Failure::run)?;
        }
        store::clear(&dir).map_err(Failure::run)?;
    }
    let mut brain = open(global, &loaded, &dir, MadeBy::Read, &args.run)?;
    settings::name_by(global, &mut brain, &apps.definitions, apps.recog);
    if let Some(dir) = &loaded.config.baseline.follow {
        brain.follow(Box::new(Shelf::new(dir)));
    }
    let files = not_held(global, &brain, args.files)?;
    if files.is_empty() {
        if !global.quiet {
            eprintln!("eastwatch: nothing new to read; --fresh begins with an empty state");
        }
        return close(brain);
    }
    let mut source = Files::open(&files, args.run.filter.as_deref()).map_err(Failure::run)?;
    brain.tell(Teller::new(args.run.eve.as_deref().map(Eve::open).transpose().map_err(Failure::run)?));
    let plan = Plan {
        workers,
        decode: loaded.config.decode(),
        limits: settings::shard_limits(&loaded.config),
        definitions: apps.definitions,
        seed: READ_SEED,
        full_ends: true,
        disk_full: Default::default(),
    };
    let stop = Arc::new(AtomicBool::new(false));
    signals::stop_on_interrupt(&stop)?;
    let bar = bar(global, &args.run, source.progress().bytes_total);
    let started = brain.now();
    let outcome = run_pipeline(&plan, &mut source, brain, mailbox(), &stop, |source, intake, _| {
        draw(&bar, source, intake);
        None
    })
    .map_err(Failure::run)?;
    bar.finish_and_clear();
    let mut brain = outcome.brain;
    let now = brain.now();
    // A full disk or a person ended it before its end: the next run must read it again.
    if outcome.kept.trouble.is_none() && !stop.load(Ordering::Relaxed) {
        for content in source.contents() {
            let name = content.path.display().to_string();
            brain.hold(Capture { digest: content.digest, bytes: content.bytes, name, read_to: now });
        }
    }
    let eve_trouble = brain.teller().eve().and_then(Eve::take_trouble);
    let saved = brain.save();
    if !global.quiet {
        let span = (started == crate::model::Timestamp::ZERO).then(|| brain.span_s()).flatten();
        // Standard output is the events' alone where they go there.
        match args.run.eve.as_deref().is_some_and(|eve| eve.as_os_str() == "-") {
            true => eprint!("{}", summary::told(&brain, &outcome.intake, span, global.color)),
            false => write_out(&summary::told(&brain, &outcome.intake, span, global.color))?,
        }
    }
    let left_out = brain.totals().counter("decode.discard.link_type");
    let worst = brain.totals().opened.worst;
    let shed = outcome.kept.shed;
    let kept = outcome.kept.trouble;
    let closed = close(brain);
    if let Some(trouble) = kept {
        let what = if shed > 0 { format!("; {shed} records were left out, incidents are kept") } else { String::new() };
        return Err(Failure::run(format!("{trouble}{what}")));
    }
    saved.map_err(Failure::run)?;
    closed?;
    if let Some(trouble) = eve_trouble {
        return Err(Failure::run(trouble));
    }
    if let Some(fault) = outcome.faults.first() {
        let more = outcome.faults.len() - 1;
        let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        return Err(Failure::run(format!("{fault}{more}")));
    }
    // A recording's steps of time have a link type of their own.
    let mut seen = source.link_types_seen().into_iter();
    let foreign = seen.find(|(link, _)| !crate::decode::reads(*link) && *link != CLOCK_LINK);
    if let Some((link, from)) = foreign {
        let (count, file) = (left_out, source.source_name(from));
        let packets =
            if count == 1 { "1 packet was".to_owned() } else { format!("{} packets were", summary::grouped(count)) };
        return Err(Failure::run(format!(
            "{file}: {link} is none that can be read, {packets} left out; capture as Ethernet, or with -i any on Linux"
        )));
    }
    if stop.load(Ordering::Relaxed) {
        return Err(Failure::run("interrupted; what was read is analysed and kept"));
    }
    match args.run.fail_on {
        Some(least) if worst >= Some(least) => Err(Failure::found()),
        _ => Ok(()),
    }
}

/// The files that neither the state holds by content nor an earlier one of the line is equal to. A file is read for
/// its digest only where one of the same length could be it.
fn not_held(global: &Global, brain: &Brain, files: Vec<PathBuf>) -> Result<Vec<PathBuf>, Failure> {
    let sizes: Vec<Option<u64>> =
        files.iter().map(|file| stored_bytes(file)).collect::<Result<_, _>>().map_err(Failure::run)?;
    let mut seen: Vec<Capture> = Vec::new();
    let mut fresh = Vec::with_capacity(files.len());
    for (file, size) in files.into_iter().zip(&sizes) {
        let twin = sizes.iter().filter(|other| *other == size).count() > 1;
        if let Some(bytes) = *size
            && (twin || brain.held().iter().any(|c| c.bytes == bytes))
        {
            let name = file.display().to_string();
            let digest = digest(&file).map_err(Failure::run)?;
            if let Some(held) = brain.held().iter().chain(&seen).find(|c| c.digest == digest) {
                if !global.quiet {
                    let before = if held.name == name { String::new() } else { format!(" as {}", held.name) };
                    eprintln!("eastwatch: {name}: the state already holds it{before}; skipped");
                }
                continue;
            }
            seen.push(Capture { digest, bytes, name, read_to: Default::default() });
        }
        fresh.push(file);
    }
    Ok(fresh)
}

/// The brain of a state, an inventory taken in where one is named.
pub fn open(global: &Global, loaded: &Loaded, dir: &Path, by: MadeBy, run: &RunArgs) -> Result<Brain, Failure> {
    let (store, recovery) = store::open(dir, Options { made_by: Some(by), lock_wait: LOCK_WAIT, ..Options::default() })
        .map_err(Failure::run)?;
    if let Some(recovery) = recovery {
        eprintln!("eastwatch: {recovery}");
    }
    let mut config = loaded.config.brain();
    config.flows = run.flows;
    let mut brain = Brain::load(Box::new(store), config).map_err(Failure::run)?;
    if !global.quiet {
        let held = brain.held().len();
        let what = match brain.now() == Default::default() {
            true => "empty".to_owned(),
            false => {
                let captures = if held == 1 { "1 capture".to_owned() } else { format!("{held} captures") };
                format!("{captures}, newest packet {}", brain.now().short())
            }
        };
        eprintln!("eastwatch: state {} ({what})", dir.display());
    }
    take_inventory(&mut brain, loaded)?;
    Ok(brain)
}

/// Takes in the inventory that the configuration or the command line names.
pub fn take_inventory(brain: &mut Brain, loaded: &Loaded) -> Result<(), Failure> {
    if let Some(file) = &loaded.config.networks.inventory {
        let text = super::query::read_text(file)?;
        let name = file.display().to_string();
        let file = InventoryFile { source: name.clone(), name, text };
        let sources = Imported::sources(&[file], None).map_err(Failure::run)?;
        for note in sources.values().flat_map(|imported| &imported.notes) {
            eprintln!("eastwatch: {note}");
        }
        brain.import(&sources).map_err(Failure::run)?;
    }
    Ok(())
}

/// Exports and frees the store.
pub fn close(mut brain: Brain) -> Result<(), Failure> {
    match brain.take_store() {
        Some(store) => store.close().map_err(Failure::run),
        None => Ok(()),
    }
}

pub fn bar(global: &Global, run: &RunArgs, total: Option<u64>) -> ProgressBar {
    let wanted = !run.no_progress && !global.quiet && std::io::stderr().is_terminal();
    let target = if wanted { ProgressDrawTarget::stderr_with_hz(10) } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(total, target);
    let template = match total {
        Some(_) => "{bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {msg}  ETA {eta}",
        None => "{spinner} {bytes}  {bytes_per_sec}  {msg}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━━╌"));
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

pub fn draw(bar: &ProgressBar, source: &dyn Source, intake: &Intake) {
    if !bar.is_hidden() {
        bar.set_position(source.progress().bytes_read);
        bar.set_message(format!("{} packets", summary::grouped(intake.packets)));
    }
}
