//! Capture streams over TCP (pcap-over-IP): whoever connects sends a pcap or pcapng file that does not end. There is no
//! authentication: who may connect may claim any packet, so loopback is the default address.
//!
//! Bound: [`CLIENTS_MAX`] clients at once, each with a thread and two batches; a further one is turned away. A client
//! that sends no capture, stops inside a record for [`STALL`], or breaks off is hung up on; each is counted and told.

use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};

use crate::counters;
use crate::model::{SourceCounts, Timestamp};

use super::batch::{Batch, SourceId};
use super::clock;
use super::datagrams::refused;
use super::error::CaptureError;
use super::file::Reader;
use super::filter::{Filter, Verdict};
use super::input::Input;
use super::listen::Listen;
use super::merge::Files;
use super::{CaptureCounters, Filled, Source};

const CLIENTS_MAX: usize = 8;
/// Client addresses told apart as mirror sources; further ones share the last.
const NAMES_MAX: usize = 64;
/// Silence inside a record, or before the file header, after which a client is hung up on. Between records it may be
/// silent for ever: so is a quiet network.
const STALL: Duration = Duration::from_secs(20);
/// How often a silent reader looks whether it shall stop.
const LOOK_AROUND: Duration = Duration::from_millis(250);
/// Packets from the future move time for everyone: what is later than this is taken for now.
const AHEAD_MAX_S: i64 = 1;

counters! {
    pub(super) struct StreamCounters {
        /// Turned away: there were as many clients as there may be.
        turned_away => "capture.discard.client_turned_away",
        /// Hung up on: no capture, stalled, or broken off.
        cut => "capture.discard.client_cut",
        /// Times in the future that were given up for now.
        ahead => "capture.discard.time_ahead",
    }
}

pub(super) struct Streams {
    listener: TcpListener,
    listen: Listen,
    filter: Option<Filter>,
    clients: Vec<Client>,
    /// Per client address, in order of first coming.
    pub counts: Vec<(IpAddr, SourceCounts)>,
    stop: Arc<AtomicBool>,
    pub counters: StreamCounters,
}

struct Client {
    peer: SocketAddr,
    name: usize,
    batches: Receiver<Batch>,
    spent: SyncSender<Batch>,
    /// What did not fit into the caller's batch, from which frame on.
    held: Option<(Batch, usize)>,
    end: Receiver<Option<CaptureError>>,
}

impl Streams {
    /// # Errors
    /// The port is taken or forbidden.
    pub fn open(listen: &Listen, filter: Option<&str>) -> Result<Self, CaptureError> {
        let address = listen.address().unwrap_or(SocketAddr::from(([0u16; 8], listen.port)));
        let listener = TcpListener::bind(address)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(|error| refused(listen, &error))?;
        Ok(Streams {
            listener,
            listen: *listen,
            filter: filter.map(Filter::new).transpose()?,
            clients: Vec::new(),
            counts: Vec::new(),
            stop: Arc::new(AtomicBool::new(false)),
            counters: StreamCounters::default(),
        })
    }

    /// Moves what the clients sent into the batch; their sources are numbered from `first` on.
    pub fn drain(&mut self, first: u16, batch: &mut Batch, counters: &mut CaptureCounters) {
        self.accept();
        let now = clock::now();
        let mut ended = Vec::new();
        for (at, client) in self.clients.iter_mut().enumerate() {
            let Some((_, counts)) = self.counts.get_mut(client.name) else { continue };
            let source = SourceId(first.saturating_add(client.name as u16));
            if client.drain(
                source,
                batch,
                now,
                Tally { counts, streams: &mut self.counters, capture: counters },
                &mut self.filter,
            ) {
                ended.push(at);
            }
        }
        for at in ended.into_iter().rev() {
            let client = self.clients.remove(at);
            self.hang_up(&client);
        }
    }

    fn accept(&mut self) {
        // One a turn: the next is 8 ms away at most.
        let Ok((stream, peer)) = self.listener.accept() else { return };
        if self.clients.len() >= CLIENTS_MAX {
            self.counters.turned_away += 1;
            tracing::warn!("{}: {peer} is turned away: {CLIENTS_MAX} clients are connected already", self.listen);
            return;
        }
        match self.serve(stream, peer) {
            Ok(client) => {
                tracing::info!("{}: {peer} sends a capture", self.listen);
                self.clients.push(client);
            }
            Err(error) => {
                self.counters.cut += 1;
                tracing::warn!("{}: {peer}: {error}", self.listen);
            }
        }
    }

    fn serve(&mut self, stream: TcpStream, peer: SocketAddr) -> io::Result<Client> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(LOOK_AROUND))?;
        // A sender that vanished without a word is noticed between records too.
        let keep_alive = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(20));
        SockRef::from(&stream).set_tcp_keepalive(&keep_alive)?;
        let ip = peer.ip().to_canonical();
        let known = self.counts.iter().position(|(known, _)| *known == ip);
        let name = known.unwrap_or_else(|| {
            if self.counts.len() < NAMES_MAX {
                let name = format!("{} from {ip}", self.listen);
                self.counts.push((ip, SourceCounts { name, ..SourceCounts::default() }));
            }
            self.counts.len() - 1
        });
        if let Some((_, counts)) = self.counts.get_mut(name) {
            counts.gone = false;
        }
        let (filled, batches) = sync_channel(2);
        let (spent, empty) = sync_channel(2);
        for _ in 0..2 {
            let _ = spent.send(Batch::new());
        }
        let (over, end) = sync_channel(1);
        let inside = Arc::new(AtomicBool::new(true));
        let (stop, last) = (Arc::clone(&self.stop), Instant::now());
        let feed = Feed { stream, stop, inside: Arc::clone(&inside), last, stall: STALL };
        let place = format!("{} from {peer}", self.listen);
        std::thread::Builder::new().name("pcap-over-ip".to_owned()).spawn(move || {
            let outcome = read(place, feed, &inside, &filled, &empty);
            // The probe may be gone: then nobody needs the reason.
            let _ = over.send(outcome.err());
        })?;
        Ok(Client { peer, name, batches, spent, held: None, end })
    }

    fn hang_up(&mut self, client: &Client) {
        match client.end.recv_timeout(LOOK_AROUND) {
            Ok(Some(error)) => {
                self.counters.cut += 1;
                tracing::warn!("{error}");
            }
            _ => tracing::info!("{}: {} has sent all", self.listen, client.peer),
        }
        let others = self.clients.iter().any(|other| other.name == client.name);
        if let Some((_, counts)) = self.counts.get_mut(client.name) {
            // Who never sent a packet was no source.
            counts.gone = !others && counts.packets > 0;
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Client {
    /// True when it has ended and all of it was given.
    fn drain(
        &mut self,
        source: SourceId,
        batch: &mut Batch,
        now: Timestamp,
        tally: Tally<'_>,
        filter: &mut Option<Filter>,
    ) -> bool {
        loop {
            let (own, from) = match self.held.take() {
                Some(held) => held,
                None => match self.batches.try_recv() {
                    Ok(own) => (own, 0),
                    Err(TryRecvError::Empty) => return false,
                    Err(TryRecvError::Disconnected) => return true,
                },
            };
            for (at, frame) in own.frames.iter().enumerate().skip(from) {
                let bytes = own.get(frame);
                match filter.as_mut().map_or(Verdict::Pass, |f| f.verdict(frame.link, bytes)) {
                    Verdict::Pass => {}
                    Verdict::Drop => {
                        tally.capture.filtered += 1;
                        continue;
                    }
                    Verdict::CannotSay => {
                        tally.capture.unfilterable += 1;
                        continue;
                    }
                }
                let ahead = frame.time > now.plus_s(AHEAD_MAX_S);
                let time = if ahead { now } else { frame.time };
                if !batch.push(time, frame.wire_len, frame.link, source, bytes) {
                    self.held = Some((own, at));
                    return false;
                }
                tally.streams.ahead += u64::from(ahead);
                tally.capture.frames += 1;
                tally.capture.bytes += u64::from(frame.wire_len);
                tally.counts.packets += 1;
                tally.counts.bytes += u64::from(frame.wire_len);
            }
            let _ = self.spent.try_send(own);
        }
    }
}

/// Where a client's frames are counted.
struct Tally<'a> {
    counts: &'a mut SourceCounts,
    streams: &'a mut StreamCounters,
    capture: &'a mut CaptureCounters,
}

/// A client's thread: reads its capture until it ends.
fn read(
    place: String,
    feed: Feed,
    inside: &AtomicBool,
    filled: &SyncSender<Batch>,
    empty: &Receiver<Batch>,
) -> Result<(), CaptureError> {
    let reader = Reader::new(Input::endless(place, Box::new(feed)))?;
    inside.store(reader.holds_more(), Ordering::Relaxed);
    let mut files = Files::of(reader);
    while let Ok(mut batch) = empty.recv() {
        loop {
            inside.store(files.inside_record(), Ordering::Relaxed);
            match files.fill(&mut batch)? {
                Filled::Idle => {}
                Filled::End => return Ok(()),
                Filled::Frames => break,
            }
        }
        if filled.send(batch).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// The client's bytes; an error where it stalls.
struct Feed {
    stream: TcpStream,
    stop: Arc<AtomicBool>,
    /// Something of a record (or of the file header) is here and the rest is not.
    inside: Arc<AtomicBool>,
    last: Instant,
    stall: Duration,
}

impl Read for Feed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(into) {
                Ok(count) => {
                    self.last = Instant::now();
                    self.inside.store(true, Ordering::Relaxed);
                    return Ok(count);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if self.stop.load(Ordering::Relaxed) {
                        return Ok(0);
                    }
                    if !self.inside.load(Ordering::Relaxed) {
                        self.last = Instant::now();
                    } else if self.last.elapsed() >= self.stall {
                        return Err(io::Error::other(format!(
                            "stalled for {} s inside a record",
                            self.stall.as_secs()
                        )));
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// What a silent client comes to, while something of a record is here or not.
    fn silence(inside: bool) -> io::Result<usize> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (inside, stall) = (Arc::new(AtomicBool::new(inside)), Duration::from_millis(100));
        let mut feed = Feed { stream, stop: Arc::default(), inside, last: Instant::now(), stall };
        let late = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            let _ = client.write_all(b"at last");
        });
        let read = feed.read(&mut [0; 16]);
        late.join().unwrap();
        read
    }

    #[test]
    fn a_client_that_stalls_inside_a_record_is_hung_up_on() {
        assert!(silence(true).unwrap_err().to_string().contains("inside a record"));
    }

    #[test]
    fn one_that_is_silent_between_records_is_not() {
        assert_eq!(silence(false).unwrap(), 7);
    }

    #[test]
    fn packets_from_the_future_are_taken_for_now() {
        let listen: Listen = "pcap:127.0.0.1:47893".parse().unwrap();
        let mut streams = Streams::open(&listen, None).unwrap();
        let mut client = TcpStream::connect("127.0.0.1:47893").unwrap();
        let (mut scenario, year_2100) = (crate::scenario::Scenario::new(1), Timestamp::from_parts(4_102_444_800, 0));
        scenario.frame(year_2100, vec![7; 60]);
        client.write_all(&scenario.encode(crate::scenario::Format::PCAP)).unwrap();
        let (mut batch, mut counters) = (Batch::new(), CaptureCounters::default());
        let end = Instant::now() + Duration::from_secs(5);
        while batch.is_empty() && Instant::now() < end {
            streams.drain(0, &mut batch, &mut counters);
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!((batch.frames.len(), streams.counters.ahead, counters.frames), (1, 1, 1));
        assert!(batch.frames[0].time < year_2100);
    }
}
