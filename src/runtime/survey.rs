//! What a mirror's packets say of the mirror itself: one direction only, tags on one side, merged segments, a mirror that
//! mirrors itself, the probe's own traffic, the conversation that takes the most. For `doctor`; no event depends on it.
//!
//! A sample, so that it costs nothing where it matters: the first [`PACKETS_A_SECOND`] packets of each second, and
//! windows of [`WINDOW_S`] of at most [`CONVERSATIONS_MAX`] conversations of each of [`SOURCES_MAX`] sources; what is
//! beyond is not looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use crate::capture::{Batch, CaptureError, Filled, Frame, Progress, Source, SourceId};
use crate::decode::{DecodeConfig, Located, Locator, Network};
use crate::model::{LayerKind, LinkType, SourceCounts, SourceSurvey, Timestamp};

/// A few thousandths of a core.
const PACKETS_A_SECOND: u32 = 3_000;
const WINDOW_S: i64 = 60;
const CONVERSATIONS_MAX: usize = 512;
const SOURCES_MAX: usize = 64;
/// Jumbo frames end here; a virtual NIC with offloads hands over up to 64 KiB.
const MTU_MAX: usize = 9_216;
/// Enough for a handshake and a question: the other side must have said something.
const CONVERSATION_PACKETS: u32 = 4;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A source, surveyed on the way.
pub struct Surveyed<S> {
    inner: S,
    locator: Locator,
    /// This machine's own addresses.
    own: BTreeSet<IpAddr>,
    windows: BTreeMap<SourceId, Window>,
    /// Of each source by its name: the last whole window.
    last: BTreeMap<String, SourceSurvey>,
    began: Timestamp,
    second: i64,
    left: u32,
}

/// What one source showed since the window began.
#[derive(Default)]
struct Window {
    survey: SourceSurvey,
    conversations: HashMap<Conversation, Seen>,
}

/// Both ends, the smaller first, and the protocol. Segments are left out: they may differ by direction.
type Conversation = ((IpAddr, u16), (IpAddr, u16), u8);

/// By direction: packets, and whether any had a tag or none.
#[derive(Default)]
struct Seen {
    packets: [u32; 2],
    tagged: [bool; 2],
    untagged: [bool; 2],
    bytes: u64,
}

impl<S: Source> Surveyed<S> {
    pub fn new(inner: S, decode: &DecodeConfig, own: BTreeSet<IpAddr>) -> Self {
        Surveyed {
            inner,
            locator: Locator::new(decode.clone()),
            own,
            windows: BTreeMap::new(),
            last: BTreeMap::new(),
            began: Timestamp::ZERO,
            second: 0,
            left: 0,
        }
    }

    fn look(&mut self, batch: &Batch) {
        for frame in &batch.frames {
            if frame.time.second() != self.second {
                self.second = frame.time.second();
                self.left = PACKETS_A_SECOND;
                self.turn(frame.time);
            }
            if self.left == 0 {
                continue;
            }
            self.left -= 1;
            if self.windows.len() >= SOURCES_MAX && !self.windows.contains_key(&frame.source) {
                continue;
            }
            let window = self.windows.entry(frame.source).or_default();
            let Ok(Some(located)) = self.locator.locate(frame.link, batch.get(frame), frame.wire_len, frame.time)
            else {
                continue;
            };
            window.packet(frame, &located, &self.own);
        }
    }

    /// A window that has lasted is kept until the next one has.
    fn turn(&mut self, now: Timestamp) {
        let age_s = now.second() - self.began.second();
        if (0..WINDOW_S).contains(&age_s) {
            return;
        }
        self.began = now;
        for (id, window) in std::mem::take(&mut self.windows) {
            let name = self.inner.source_name(id).to_owned();
            self.last.insert(name, window.result());
        }
    }

    /// Of the last whole window; of the first one as far as it is.
    fn of(&self, name: &str) -> Option<SourceSurvey> {
        let current =
            || self.windows.iter().find(|(id, _)| self.inner.source_name(**id) == name).map(|(_, w)| w.result());
        let mut survey = self.last.get(name).cloned().or_else(current)?;
        name.clone_into(&mut survey.name);
        Some(survey)
    }
}

impl Window {
    fn packet(&mut self, frame: &Frame, located: &Located<'_>, own: &BTreeSet<IpAddr>) {
        let bytes = u64::from(frame.wire_len);
        self.survey.packets += 1;
        self.survey.bytes += bytes;
        self.survey.merged += u64::from(located.bytes.len() + located.cut as usize > MTU_MAX);
        let layers: Vec<_> = located.segment.layers().filter(|layer| layer.kind != LayerKind::Vlan).collect();
        self.survey.looped += u64::from(layers.windows(2).any(|pair| pair.first() == pair.last()));
        let Some((protocol, transport)) = transport(located) else { return };
        if let Some(address) = [located.src, located.dst].into_iter().find(|address| own.contains(address)) {
            self.survey.own += 1;
            self.survey.own_address = Some(address);
            self.survey.answers += u64::from(address == located.src && refuses(protocol, transport));
        }
        let [a, b, c, d, ..] = transport else { return };
        if protocol != TCP && protocol != UDP {
            return;
        }
        let src = (located.src, u16::from_be_bytes([*a, *b]));
        let dst = (located.dst, u16::from_be_bytes([*c, *d]));
        let key = (src.min(dst), src.max(dst), protocol);
        if self.conversations.len() >= CONVERSATIONS_MAX && !self.conversations.contains_key(&key) {
            return;
        }
        let seen = self.conversations.entry(key).or_default();
        seen.bytes += bytes;
        let tagged = !located.segment.vlans().is_empty();
        let way = usize::from(src > dst);
        for (slot, value) in [(seen.tagged.get_mut(way), tagged), (seen.untagged.get_mut(way), !tagged)] {
            slot.into_iter().for_each(|slot| *slot |= value);
        }
        seen.packets.get_mut(way).into_iter().for_each(|packets| *packets = packets.saturating_add(1));
    }

    fn result(&self) -> SourceSurvey {
        let mut survey = self.survey.clone();
        let mut totals: BTreeMap<(IpAddr, IpAddr, u16), u64> = BTreeMap::new();
        for ((one, other, protocol), seen) in &self.conversations {
            // The smaller port is most often the server's; a filter by it leaves out as much either way.
            *totals.entry((one.0, other.0, one.1.min(other.1))).or_default() += seen.bytes;
            let [there, back] = seen.packets;
            if *protocol == TCP && there + back >= CONVERSATION_PACKETS {
                survey.conversations += 1;
                survey.one_way += u64::from(there == 0 || back == 0);
            }
            let only = |way: usize| (seen.tagged.get(way).copied(), seen.untagged.get(way).copied());
            let (tagged, plain) = ((Some(true), Some(false)), (Some(false), Some(true)));
            survey.split_tags += u64::from([(tagged, plain), (plain, tagged)].contains(&(only(0), only(1))));
        }
        let largest = totals.into_iter().max_by_key(|(_, bytes)| *bytes);
        survey.largest_bytes = largest.map_or(0, |(_, bytes)| bytes);
        survey.largest = largest.map(|(key, _)| key);
        survey
    }
}

/// Protocol and what follows the IP header; extension headers of IPv6 are not walked, a later fragment has none.
fn transport<'a>(located: &Located<'a>) -> Option<(u8, &'a [u8])> {
    let bytes = located.bytes;
    match located.network {
        Network::Ipv4 => {
            let fragment = u16::from_be_bytes([*bytes.get(6)?, *bytes.get(7)?]) & 0x1fff;
            let start = usize::from(bytes.first()? & 0x0f) * 4;
            (fragment == 0).then_some((*bytes.get(9)?, bytes.get(start..)?))
        }
        Network::Ipv6 => Some((*bytes.get(6)?, bytes.get(40..)?)),
        Network::Arp | Network::Rarp | Network::Lldp | Network::Cdp => None,
    }
}

/// A reset, or "unreachable" of ICMP (type 3) or ICMPv6 (type 1).
fn refuses(protocol: u8, transport: &[u8]) -> bool {
    match protocol {
        TCP => transport.get(13).is_some_and(|flags| flags & 0x04 != 0),
        1 => transport.first() == Some(&3),
        58 => transport.first() == Some(&1),
        _ => false,
    }
}

impl<S: Source> Source for Surveyed<S> {
    fn fill(&mut self, batch: &mut Batch) -> Result<Filled, CaptureError> {
        let filled = self.inner.fill(batch)?;
        self.look(batch);
        Ok(filled)
    }

    fn stepped(&mut self, time: Timestamp) {
        self.inner.stepped(time);
    }

    fn counters(&self, out: &mut Vec<(&'static str, u64)>) {
        self.inner.counters(out);
    }

    fn progress(&self) -> Progress {
        self.inner.progress()
    }

    fn source_name(&self, id: SourceId) -> &str {
        self.inner.source_name(id)
    }

    fn interface(&self, id: SourceId) -> Option<&str> {
        self.inner.interface(id)
    }

    fn link_types_seen(&self) -> Vec<(LinkType, SourceId)> {
        self.inner.link_types_seen()
    }

    fn losses(&mut self) -> Vec<SourceCounts> {
        let mut losses = self.inner.losses();
        losses.iter_mut().for_each(|source| source.survey = self.of(&source.name));
        losses
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Side;
    use crate::scenario::{Format, Scenario, payload};

    /// Frames that are all there is to read, with their length on the wire.
    struct Frames(Vec<(Vec<u8>, u32)>);

    impl Source for Frames {
        fn fill(&mut self, batch: &mut Batch) -> Result<Filled, CaptureError> {
            batch.clear();
            for (bytes, wire_len) in self.0.drain(..) {
                batch.push(Timestamp::from_parts(1_767_225_600, 0), wire_len, LinkType::ETHERNET, SourceId(0), &bytes);
            }
            Ok(Filled::End)
        }
        fn counters(&self, _: &mut Vec<(&'static str, u64)>) {}
        fn progress(&self) -> Progress {
            Progress::default()
        }
        fn source_name(&self, _: SourceId) -> &str {
            "span0"
        }
        fn link_types_seen(&self) -> Vec<(LinkType, SourceId)> {
            Vec::new()
        }
        fn losses(&mut self) -> Vec<SourceCounts> {
            vec![SourceCounts { name: "span0".to_owned(), ..SourceCounts::default() }]
        }
    }

    fn surveyed(frames: impl IntoIterator<Item = Vec<u8>>) -> SourceSurvey {
        let sized = frames.into_iter().map(|frame| (frame.len() as u32, frame)).map(|(len, frame)| (frame, len));
        by(Frames(sized.collect()))
    }

    fn by(frames: Frames) -> SourceSurvey {
        let own = BTreeSet::from([IpAddr::from([10, 0, 0, 99])]);
        let mut source = Surveyed::new(frames, &DecodeConfig::default(), own);
        source.fill(&mut Batch::new()).unwrap();
        source.losses().pop().and_then(|counts| counts.survey).unwrap()
    }

    /// Four conversations of two VMs on VLAN 10, and one with a machine at the probe's own address that refuses.
    fn frames(with_own: bool) -> Vec<Vec<u8>> {
        let mut s = Scenario::new(5);
        let app = s.vm("app-01", "52:54:00:00:00:0c", "10.0.0.12").on_vlan(10);
        let web = s.vm("web-01", "52:54:00:00:00:0b", "10.0.0.11").on_vlan(10);
        let own = s.vm("probe", "52:54:00:00:00:99", "10.0.0.99").on_vlan(10);
        for _ in 0..4 {
            s.tcp(&app, &web, 80)
                .handshake()
                .send(Side::Orig, payload::http_get("web-01", "/"))
                .send(Side::Resp, payload::http_ok("nginx/1.24.0", "hello"))
                .close();
        }
        if with_own {
            s.tcp(&app, &own, 81).refused();
        }
        let capture = s.encode(Format::PCAP);
        let (mut rest, mut out) = (&capture[24..], Vec::new());
        while rest.len() >= 16 {
            let len = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
            out.push(rest[16..16 + len].to_vec());
            rest = &rest[16 + len..];
        }
        out
    }

    fn from_app(frame: &[u8]) -> bool {
        frame[11] == 0x0c
    }

    #[test]
    fn a_sound_mirror_shows_no_fault() {
        let survey = surveyed(frames(false));
        assert_eq!((survey.conversations, survey.one_way, survey.split_tags), (4, 0, 0));
        assert_eq!((survey.merged, survey.looped, survey.own, survey.answers), (0, 0, 0, 0));
    }

    #[test]
    fn one_direction_only_is_counted() {
        let survey = surveyed(frames(false).into_iter().filter(|frame| from_app(frame)));
        assert_eq!((survey.conversations, survey.one_way), (4, 4));
    }

    #[test]
    fn tags_on_one_side_only_are_counted() {
        let untag = |mut frame: Vec<u8>| {
            if from_app(&frame) {
                frame.drain(12..16);
            }
            frame
        };
        let survey = surveyed(frames(false).into_iter().map(untag));
        assert_eq!((survey.conversations, survey.one_way, survey.split_tags), (4, 0, 4));
    }

    #[test]
    fn a_segment_beyond_any_mtu_is_merged_and_a_jumbo_frame_is_not() {
        let of = |wire_len| by(Frames(frames(false).into_iter().map(|frame| (frame, wire_len)).take(1).collect()));
        assert_eq!(of(9_018).merged, 0);
        assert_eq!(of(64_000).merged, 1);
    }

    #[test]
    fn a_mirror_that_mirrors_itself_is_counted_and_a_tunnel_is_not() {
        let once = frames(false).into_iter().map(in_vxlan).collect::<Vec<_>>();
        assert_eq!(surveyed(once.clone()).looped, 0);
        let twice = once.into_iter().map(in_vxlan).collect::<Vec<_>>();
        let all = twice.len() as u64;
        assert_eq!(surveyed(twice).looped, all);
    }

    #[test]
    fn own_traffic_and_the_kernels_answers_are_counted() {
        let survey = surveyed(frames(true));
        assert!(survey.own >= 2 && survey.answers >= 1, "{survey:?}");
        assert_eq!(survey.own_address, Some(IpAddr::from([10, 0, 0, 99])));
    }

    #[test]
    fn the_largest_conversation_is_named_by_the_lower_port() {
        let survey = surveyed(frames(false));
        assert_eq!(survey.largest, Some(([10, 0, 0, 11].into(), [10, 0, 0, 12].into(), 80)));
        assert_eq!(survey.largest_bytes, survey.bytes, "there is no other");
    }

    /// RFC 7348 with VNI 7, from host 10.9.9.1 to 10.9.9.2.
    fn in_vxlan(frame: Vec<u8>) -> Vec<u8> {
        let mut out = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00];
        let len = frame.len() as u16;
        out.extend([0x45, 0]);
        out.extend((len + 36).to_be_bytes());
        out.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 9, 9, 1, 10, 9, 9, 2]);
        out.extend([0xc0, 0x01, 0x12, 0xb5]);
        out.extend((len + 16).to_be_bytes());
        out.extend([0, 0, 0x08, 0, 0, 0, 0, 0, 7, 0]);
        out.extend(frame);
        out
    }
}
