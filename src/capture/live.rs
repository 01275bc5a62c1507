//! Live interfaces through libpcap: promiscuous, a large ring, the filter in the kernel. Nothing is ever sent.
//! At most [`INTERFACES_MAX`] interfaces, each with a ring of `buffer_mib`; when a ring is full the kernel drops
//! and counts, and [`Source::losses`](super::Source::losses) tells.

use std::net::IpAddr;
use std::path::PathBuf;

use pcap::{Active, Capture, Device, Precision, Stat};
use serde::{Deserialize, Serialize};

use crate::model::{LinkType, SourceCounts, Timestamp};

use super::CaptureCounters;
use super::batch::{Batch, FRAME_BYTES_MAX, SourceId};
use super::error::CaptureError;
use super::filter::link_of_dlt;
use super::listen::Listen;

const INTERFACES_MAX: usize = 64;
/// How long the kernel may hold a block that is not full.
const READ_TIMEOUT_MS: i32 = 100;
const MICROSECOND_ONLY: [&str; 5] = ["nflog", "nfqueue", "usbmon", "bluetooth", "dbus"];

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LiveConfig {
    /// Kernel ring of each interface, in MiB; 64 MiB is 50 ms of 10 Gbit/s.
    pub buffer_mib: u16,
    /// Bytes kept of each frame.
    pub snaplen: u32,
    pub promiscuous: bool,
    /// What is listened for besides the interfaces, each as `--listen` names it.
    pub listen: Vec<Listen>,
}

impl Default for LiveConfig {
    fn default() -> Self {
        LiveConfig { buffer_mib: 64, snaplen: FRAME_BYTES_MAX as u32, promiscuous: true, listen: Vec::new() }
    }
}

pub struct Live {
    interfaces: Vec<Interface>,
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
        let mut live = Live { interfaces: Vec::new() };
        for name in names {
            if live.interfaces.iter().any(|known| known.counts.name == *name) {
                return Err(CaptureError::new(name, "is named twice", "give each interface once"));
            }
            live.interfaces.push(Interface::open(name, filter, config)?);
        }
        Ok(live)
    }

    pub(super) fn len(&self) -> usize {
        self.interfaces.len()
    }

    /// Does at least one still give frames?
    pub(super) fn lives(&self) -> bool {
        self.interfaces.iter().any(|interface| interface.capture.is_some())
    }

    /// Moves what the ring of one interface holds into the batch, while both have frames.
    pub(super) fn drain(
        &mut self,
        at: usize,
        batch: &mut Batch,
        counters: &mut CaptureCounters,
    ) -> Result<(), CaptureError> {
        match self.interfaces.get_mut(at) {
            Some(interface) => interface.drain(SourceId(at as u16), batch, counters),
            None => Ok(()),
        }
    }

    /// Each interface's counts, the kernel asked anew.
    pub(super) fn losses(&mut self) -> impl Iterator<Item = SourceCounts> {
        self.interfaces.iter_mut().map(|interface| {
            interface.sample();
            interface.counts.clone()
        })
    }

    pub(super) fn name(&self, at: usize) -> Option<&str> {
        self.interfaces.get(at).map(|interface| interface.counts.name.as_str())
    }

    pub(super) fn links(&self) -> impl Iterator<Item = (LinkType, SourceId)> {
        self.interfaces.iter().enumerate().map(|(at, interface)| (interface.link, SourceId(at as u16)))
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

/// This machine's own addresses, each with its interface; loopback and link-local ones left out.
pub fn addresses() -> Vec<(String, IpAddr)> {
    let distant = |address: &IpAddr| match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    let devices = Device::list().unwrap_or_default().into_iter();
    let all = devices.flat_map(|d| d.addresses.into_iter().map(move |a| (d.name.clone(), a.addr)));
    all.filter(|(_, address)| distant(address)).collect()
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
