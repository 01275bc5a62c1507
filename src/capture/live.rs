//! Live interfaces through libpcap: promiscuous, a large ring, the filter in the kernel. Nothing is ever sent.
//! At most [`INTERFACES_MAX`] interfaces, each with a ring of `buffer_mib`; when a ring is full the kernel drops
//! and counts, and [`Source::losses`] tells.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use pcap::{Active, Capture, Device, Precision, Stat};
use serde::{Deserialize, Serialize};

use crate::model::{LinkType, SourceCounts, Timestamp};

use super::batch::{Batch, FRAME_BYTES_MAX, SourceId};
use super::error::CaptureError;
use super::filter::link_of_dlt;
use super::{CaptureCounters, Filled, Progress, Source};

const INTERFACES_MAX: usize = 64;
/// How long the kernel may hold a block that is not full, and how long [`Live`] waits before it says idle: short
/// enough for a stop to be felt as immediate, long enough for a silent probe to cost nothing.
const READ_TIMEOUT_MS: i32 = 100;
/// libpcap cannot time out on a silent TPACKET_V3 ring, so an idle source looks again after a nap that doubles.
/// At 10 Gbit/s the longest nap fills a seventh of the default ring.
const NAPS_US: [u64; 7] = [250, 500, 1_000, 2_000, 4_000, 8_000, 8_000];

const MICROSECOND_ONLY: [&str; 5] = ["nflog", "nfqueue", "usbmon", "bluetooth", "dbus"];

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LiveConfig {
    /// Kernel ring of each interface, in MiB; 64 MiB is 50 ms of 10 Gbit/s.
    pub buffer_mib: u16,
    /// Bytes kept of each frame.
    pub snaplen: u32,
    pub promiscuous: bool,
}

impl Default for LiveConfig {
    fn default() -> Self {
        LiveConfig { buffer_mib: 64, snaplen: FRAME_BYTES_MAX as u32, promiscuous: true }
    }
}

pub struct Live {
    interfaces: Vec<Interface>,
    /// The interface to be asked first: each in its turn, so that a busy one starves no other.
    turn: usize,
    /// What broke while other interfaces gave frames; told at the next fill.
    fault: Option<CaptureError>,
    counters: CaptureCounters,
    links: BTreeMap<LinkType, SourceId>,
}

struct Interface {
    /// `None` once it failed.
    capture: Option<Capture<Active>>,
    link: LinkType,
    /// Nanoseconds in a unit of the fraction of a second.
    fraction_ns: u64,
    counts: SourceCounts,
    before: Stat,
}

impl Live {
    /// Opens every interface; [`SourceId`]s are their places in `names`.
    ///
    /// # Errors
    /// No permission (with the capability to grant), no such interface (with those there are), a filter that
    /// libpcap cannot compile for it.
    pub fn open(names: &[String], filter: Option<&str>, config: &LiveConfig) -> Result<Self, CaptureError> {
        if names.len() > INTERFACES_MAX {
            let what = format!("{} interfaces are more than {INTERFACES_MAX}", names.len());
            return Err(CaptureError::new("-i", what, "name fewer, or `any`"));
        }
        let mut live = Live {
            interfaces: Vec::new(),
            turn: 0,
            fault: None,
            counters: CaptureCounters::default(),
            links: BTreeMap::new(),
        };
        for name in names {
            if live.interfaces.iter().any(|known| known.counts.name == *name) {
                return Err(CaptureError::new(name, "is named twice", "give each interface once"));
            }
            let interface = Interface::open(name, filter, config)?;
            live.links.entry(interface.link).or_insert(SourceId(live.interfaces.len() as u16));
            live.interfaces.push(interface);
        }
        Ok(live)
    }

    /// Takes what the rings hold; true where the batch got a frame.
    fn poll(&mut self, batch: &mut Batch) -> Result<bool, CaptureError> {
        let many = self.interfaces.len();
        self.turn = self.turn.wrapping_add(1);
        for step in 0..many {
            let at = self.turn.wrapping_add(step) % many;
            if let Some(interface) = self.interfaces.get_mut(at) {
                interface.drain(SourceId(at as u16), batch, &mut self.counters)?;
            }
        }
        if many > 1 {
            // Rings were read one after another; stable, so frames of one interface keep their order.
            batch.frames.sort_by_key(|frame| frame.time);
        }
        Ok(!batch.is_empty())
    }
}

impl Interface {
    fn open(name: &str, filter: Option<&str>, config: &LiveConfig) -> Result<Self, CaptureError> {
        let refused = |error: pcap::Error| explain(name, &error);
        // Packet sockets count nanoseconds; what libpcap offers besides them refuses to, without telling.
        let nano = !MICROSECOND_ONLY.iter().any(|kind| name.starts_with(kind));
        let mut capture = Capture::from_device(name)
            .map_err(refused)?
            .promisc(config.promiscuous)
            .snaplen(config.snaplen.clamp(64, FRAME_BYTES_MAX as u32) as i32)
            .buffer_size(i32::from(config.buffer_mib.clamp(1, 2_047)) << 20)
            .timeout(READ_TIMEOUT_MS)
            .immediate_mode(false)
            .precision(if nano { Precision::Nano } else { Precision::Micro })
            .open()
            .and_then(Capture::setnonblock)
            .map_err(refused)?;
        if let Some(text) = filter {
            capture.filter(text, true).map_err(|error| {
                let place = format!("--filter `{text}` on {name}");
                CaptureError::new(place, message(&error), "see pcap-filter(7), as in `tcp port 443`")
            })?;
        }
        let link = link_of_dlt(capture.get_datalink().0);
        let counts = SourceCounts { name: name.to_owned(), ..SourceCounts::default() };
        let before = Stat { received: 0, dropped: 0, if_dropped: 0 };
        let fraction_ns = if nano { 1 } else { 1_000 };
        Ok(Interface { capture: Some(capture), link, fraction_ns, counts, before })
    }

    /// Moves frames from the ring into the batch while both have them.
    fn drain(
        &mut self,
        source: SourceId,
        batch: &mut Batch,
        counters: &mut CaptureCounters,
    ) -> Result<(), CaptureError> {
        let Some(capture) = &mut self.capture else { return Ok(()) };
        // Room for the longest frame first: one taken from the ring cannot be given back.
        while batch.has_room(FRAME_BYTES_MAX) {
            match capture.next_packet() {
                Ok(packet) => {
                    let ts = packet.header.ts;
                    let fraction = u64::try_from(ts.tv_usec).unwrap_or(0).saturating_mul(self.fraction_ns);
                    let time = Timestamp::from_parts(u64::try_from(ts.tv_sec).unwrap_or(0), fraction);
                    if batch.push(time, packet.header.len, self.link, source, packet.data) {
                        counters.frames += 1;
                        counters.bytes += u64::from(packet.header.len);
                        self.counts.packets += 1;
                        self.counts.bytes += u64::from(packet.header.len);
                    } else {
                        counters.oversize += 1;
                    }
                }
                Err(pcap::Error::TimeoutExpired | pcap::Error::NoMorePackets) => return Ok(()),
                Err(error) => {
                    self.capture = None;
                    self.counts.gone = true;
                    counters.faults += 1;
                    return Err(explain(&self.counts.name, &error));
                }
            }
        }
        Ok(())
    }

    /// libpcap's 32-bit counters wrap; ours do not.
    fn sample(&mut self) {
        if let Some(now) = self.capture.as_mut().and_then(|capture| capture.stats().ok()) {
            self.counts.kernel_drops += u64::from(now.dropped.wrapping_sub(self.before.dropped));
            self.counts.interface_drops += u64::from(now.if_dropped.wrapping_sub(self.before.if_dropped));
            self.before = now;
        }
    }
}

impl Source for Live {
    fn fill(&mut self, batch: &mut Batch) -> Result<Filled, CaptureError> {
        batch.clear();
        if let Some(error) = self.fault.take() {
            return Err(error);
        }
        if self.interfaces.iter().all(|interface| interface.capture.is_none()) {
            return Ok(Filled::End);
        }
        let mut waited_us = 0;
        let mut naps = NAPS_US.iter().chain(std::iter::repeat(&8_000));
        loop {
            match self.poll(batch) {
                Ok(true) => return Ok(Filled::Frames),
                Ok(false) => {}
                // What the other interfaces gave is not lost: the broken one is silent from now on.
                Err(error) if batch.is_empty() => return Err(error),
                Err(error) => {
                    self.fault = Some(error);
                    return Ok(Filled::Frames);
                }
            }
            if waited_us >= READ_TIMEOUT_MS as u64 * 1_000 {
                return Ok(Filled::Idle);
            }
            let nap = naps.next().copied().unwrap_or(8_000);
            std::thread::sleep(Duration::from_micros(nap));
            waited_us += nap;
        }
    }

    fn counters(&self, out: &mut Vec<(&'static str, u64)>) {
        self.counters.report(out);
    }

    fn progress(&self) -> Progress {
        Progress { bytes_read: self.counters.bytes, bytes_total: None, frames: self.counters.frames }
    }

    fn source_name(&self, id: SourceId) -> &str {
        self.interfaces.get(usize::from(id.0)).map_or("?", |interface| interface.counts.name.as_str())
    }

    fn link_types_seen(&self) -> Vec<(LinkType, SourceId)> {
        self.links.iter().map(|(link, source)| (*link, *source)).collect()
    }

    fn losses(&mut self) -> Vec<SourceCounts> {
        self.interfaces.iter_mut().for_each(Interface::sample);
        self.interfaces.iter().map(|interface| interface.counts.clone()).collect()
    }
}

fn message(error: &pcap::Error) -> String {
    error.to_string().trim_start_matches("libpcap error: ").to_owned()
}

/// Why an interface cannot be listened on, and what the operator can do about it.
fn explain(name: &str, error: &pcap::Error) -> CaptureError {
    let text = message(error);
    let lower = text.to_lowercase();
    if lower.contains("permi") {
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/bin/eastwatch"));
        let mend = format!(
            "grant it: `sudo setcap cap_net_raw+ep {}`, or run as root, or start it by the systemd unit \
             (AmbientCapabilities=CAP_NET_RAW)",
            program.display()
        );
        return CaptureError::new(name, "no permission to capture (CAP_NET_RAW)", mend);
    }
    if lower.contains("no such device") {
        let there = Device::list().unwrap_or_default().into_iter().map(|d| d.name).collect::<Vec<_>>();
        return CaptureError::new(name, "no such interface", nearest(name, &there));
    }
    if lower.contains("not up") || lower.contains("down") {
        return CaptureError::new(name, "the interface is down", format!("`sudo ip link set {name} up`"));
    }
    if lower.contains("disappeared") {
        return CaptureError::new(
            name,
            "the interface went away",
            "bring it back (`ip link`) and start the probe again",
        );
    }
    CaptureError::new(name, text, "run `eastwatch doctor`")
}

/// The likeliest of the interfaces there are, then all of them (at most twelve).
fn nearest(name: &str, there: &[String]) -> String {
    let likely = there
        .iter()
        .map(|other| (strsim::damerau_levenshtein(name, other), other))
        .min()
        .filter(|(distance, _)| *distance <= 2)
        .map(|(_, other)| format!("did you mean `{other}`? "))
        .unwrap_or_default();
    match there {
        [] => format!("{likely}libpcap finds none here: check `ip link`"),
        some => format!("{likely}there are: {}", some.iter().take(12).cloned().collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_permission_names_the_capability_to_grant() {
        let error = pcap::Error::PcapError("socket: Operation not permitted".to_owned());
        let text = explain("eth0", &error).to_string();
        assert!(text.starts_with("eth0: ") && text.contains("sudo setcap cap_net_raw+ep /"), "{text}");
        let other = explain("eth0", &pcap::Error::PcapError("out of memory".to_owned())).to_string();
        assert!(!other.contains("setcap"), "{other}");
    }

    #[test]
    fn a_mistyped_interface_gets_the_nearest_name() {
        let there = ["eth0".to_owned(), "lo".to_owned(), "virbr0".to_owned()];
        assert_eq!(nearest("dummy7", &there), "there are: eth0, lo, virbr0");
        assert_eq!(nearest("eth1", &there), "did you mean `eth0`? there are: eth0, lo, virbr0");
    }

    #[test]
    fn an_interface_that_is_not_there_is_refused() {
        let names = ["nosuchif0".to_owned()];
        let error = Live::open(&names, None, &LiveConfig::default()).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.starts_with("nosuchif0: "), "{error}");
    }
}
