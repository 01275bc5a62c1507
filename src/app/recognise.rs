//! The recognition of one flow: probing, then describing, then following, then nothing.
//!
//! Probing ends undecided (`app_proto` null) when every protocol declined (of a stream), when neither direction takes more bytes,
//! when [`UNKEPT_BYTES_MAX`] bytes came that could not be kept, or after [`DATAGRAMS_MAX`] datagrams. Describing ends
//! when the protocol says so or when neither direction takes more. The owner may end both early
//! ([`AppState::give_up`]) when its memory budget is spent.

use std::sync::Arc;

use super::defined::Search;
use super::definition::Definitions;
use super::opening::BEFORE_BYTES;
use super::roster_index::{Set, index};
use super::{Described, Ends, Follow, FollowOut, OPENING_BYTES_MAX, Opening, Probe, ROSTER};
use crate::counters;
use crate::model::{AppInfo, Side, Transport};

/// A UDP protocol that has not shown itself in this many datagrams is not looked for any longer.
const DATAGRAMS_MAX: u8 = 8;
/// Keep-alives (SIP's CRLF CRLF, the 0xff of NAT-T, zeros) come before and between messages: they speak against nobody.
const KEEP_ALIVE_BYTES_MAX: usize = 4;
/// One direction is full and goes on: a transfer whose other direction the mirror does not show. Probing does not
/// wait for that direction longer than this.
const UNKEPT_BYTES_MAX: usize = 64 * 1024;

counters! {
    /// What became of recognition.
    pub struct AppCounters {
        recognised => "app.recognised",
        undecided => "app.undecided",
        /// The user's own definition named it.
        defined => "app.defined",
        /// The client's bytes proved one protocol, the server's another.
        corrected => "app.corrected",
        given_up => "app.given_up.memory",
        gaps => "app.opening.gap",
    }
}

/// What new bytes told.
#[derive(Debug, Default)]
pub struct Heard {
    /// The application, when it was recognised or its description grew.
    pub app: Option<AppInfo>,
    pub follow: FollowOut,
}

pub struct AppState {
    transport: Transport,
    orig: Vec<u8>,
    resp: Vec<u8>,
    before: [[u8; BEFORE_BYTES]; 2],
    first: Option<Side>,
    midstream: bool,
    /// Directions that take no more bytes: a gap follows what is held.
    closed: [bool; 2],
    datagrams: u8,
    /// Bytes that came and were not kept while probing.
    unkept: usize,
    /// For what the user defined, while that may still be it.
    search: Option<Box<Search>>,
    phase: Phase,
}

enum Phase {
    /// Who may still be it.
    Probing(Set),
    Describing(usize, Box<AppInfo>, Option<Box<dyn Follow>>),
    Following(Box<AppInfo>, Box<dyn Follow>),
    Done,
}

/// Who is asked about new bytes while probing.
enum Asked {
    These(Set),
    Nobody,
    /// And nobody will be asked again.
    NobodyAnyMore,
}

impl AppState {
    pub fn new(transport: Transport, midstream: bool) -> Self {
        let all = index().over(transport);
        AppState {
            transport,
            orig: Vec::new(),
            resp: Vec::new(),
            before: Default::default(),
            first: None,
            midstream,
            closed: [false; 2],
            datagrams: 0,
            unkept: 0,
            search: None,
            phase: if all.is_empty() { Phase::Done } else { Phase::Probing(all) },
        }
    }

    /// With the user's definitions, which are asked of streams from their beginning and of datagrams. `port` is the
    /// responder's.
    pub fn with(mut self, definitions: &Arc<Definitions>, port: u16) -> Self {
        if !self.midstream {
            self.search = Search::new(definitions, self.transport, port);
        }
        self
    }

    /// False once no byte can tell anything more: reassembly of this flow may stop.
    pub fn listening(&self) -> bool {
        !matches!(self.phase, Phase::Done) || self.search.as_ref().is_some_and(|search| search.goes_on())
    }

    /// The flow ends: what the roster said, and was held back because a definition could still have been it.
    pub fn last_word(&mut self) -> Option<AppInfo> {
        self.search.take().and_then(|mut search| search.release())
    }

    /// Bytes held on the heap, for the owner's budget.
    pub fn held(&self) -> usize {
        self.orig.capacity() + self.resp.capacity() + self.search.as_ref().map_or(0, |search| search.held())
    }

    fn held_of(&self, side: Side) -> usize {
        match side {
            Side::Orig => self.orig.len(),
            Side::Resp => self.resp.len(),
        }
    }

    /// Stops and frees everything; what was recognised stays recognised.
    pub fn give_up(&mut self, counters: &mut AppCounters) {
        if self.listening() {
            counters.given_up += 1;
            if let Some(search) = &mut self.search {
                search.over();
            }
            self.finish();
        }
    }

    /// In-order bytes of one direction (TCP, SCTP), or one datagram (UDP).
    pub fn data(&mut self, side: Side, bytes: &[u8], ends: &Ends, counters: &mut AppCounters) -> Heard {
        let Some(mut search) = self.search.take().filter(|_| !bytes.is_empty()) else {
            return self.of_roster(side, bytes, ends, counters);
        };
        let keep_alive = self.transport == Transport::Udp && bytes.len() <= KEEP_ALIVE_BYTES_MAX;
        let before = search.found();
        let defined = if keep_alive { None } else { search.data(side, bytes) };
        if defined.is_some() || before {
            // The user's word is the last one: the roster is not asked any more.
            counters.defined += u64::from(defined.is_some() && !before);
            self.finish();
            self.search = Some(search).filter(|search| search.goes_on());
            return Heard { app: defined, ..Heard::default() };
        }
        let mut heard = self.of_roster(side, bytes, ends, counters);
        if search.searches() {
            heard.app.take().into_iter().for_each(|app| search.hold(app));
            self.search = Some(search);
        } else {
            heard.app = heard.app.or_else(|| search.release());
        }
        heard
    }

    /// The roster's part of it.
    fn of_roster(&mut self, side: Side, bytes: &[u8], ends: &Ends, counters: &mut AppCounters) -> Heard {
        let mut heard = Heard::default();
        if bytes.is_empty() || matches!(self.phase, Phase::Done) {
            return heard;
        }
        self.first.get_or_insert(side);
        let asked = match self.asked(side, bytes) {
            Asked::Nobody => return heard,
            Asked::NobodyAnyMore => {
                self.undecided(counters);
                return heard;
            }
            Asked::These(asked) => asked,
        };
        let first_answer = self.transport != Transport::Udp && self.held_of(side) == 0;
        let kept = matches!(self.phase, Phase::Probing(_) | Phase::Describing(..)) && self.keep(side, bytes);
        if matches!(self.phase, Phase::Probing(_)) {
            if kept {
                self.probe(asked, ends, counters, &mut heard);
            } else if self.unkept > UNKEPT_BYTES_MAX {
                self.undecided(counters);
            }
        } else if kept && first_answer && self.contradicted(ends) {
            self.correct(ends, counters, &mut heard);
        } else {
            self.follow_on(side, bytes, ends, &mut heard);
            if kept {
                let news = heard.app.is_some();
                self.describe(ends, &mut heard, news);
            }
        }
        heard
    }

    /// Who may be asked about these bytes while probing: by its first byte a stream or a datagram is usually
    /// nobody's, or that of a few.
    fn asked(&mut self, side: Side, bytes: &[u8]) -> Asked {
        let Phase::Probing(alive) = &mut self.phase else { return Asked::These(Set::default()) };
        if self.transport == Transport::Udp {
            if bytes.len() <= KEEP_ALIVE_BYTES_MAX {
                return Asked::Nobody;
            }
            // Each datagram is another message: nonsense sent first must not hide what follows it.
            let asked = alive.and(index().datagram(bytes));
            if !asked.is_empty() {
                return Asked::These(asked);
            }
            self.datagrams = self.datagrams.saturating_add(1);
            return if self.datagrams >= DATAGRAMS_MAX { Asked::NobodyAnyMore } else { Asked::Nobody };
        }
        if self.orig.is_empty() && self.resp.is_empty() && self.closed == [false; 2] {
            *alive = alive.and(index().stream(side, self.midstream, bytes));
        }
        if alive.is_empty() { Asked::NobodyAnyMore } else { Asked::These(*alive) }
    }

    /// Bytes of this direction are missing from here on.
    pub fn gap(&mut self, side: Side, counters: &mut AppCounters) {
        if let Some(search) = &mut self.search {
            search.gap(side);
        }
        if let Phase::Describing(_, _, Some(follow)) | Phase::Following(_, follow) = &mut self.phase {
            follow.gap(side);
        }
        if matches!(self.phase, Phase::Probing(_) | Phase::Describing(..)) {
            counters.gaps += 1;
            if let Some(closed) = self.closed.get_mut(side as usize) {
                *closed = true;
            }
            match (self.full(), &self.phase) {
                (true, Phase::Probing(_)) => self.undecided(counters),
                (true, _) => self.follow_only(),
                (false, _) => {}
            }
        }
    }

    /// Neither direction takes more bytes.
    fn full(&self) -> bool {
        let [orig, resp] = self.closed;
        (orig || self.orig.len() >= OPENING_BYTES_MAX) && (resp || self.resp.len() >= OPENING_BYTES_MAX)
    }

    fn keep(&mut self, side: Side, bytes: &[u8]) -> bool {
        let closed = self.closed.get(side as usize).copied().unwrap_or(true);
        let buffer = match side {
            Side::Orig => &mut self.orig,
            Side::Resp => &mut self.resp,
        };
        if self.transport == Transport::Udp {
            if let (Some(before), Some(head)) = (self.before.get_mut(side as usize), buffer.first_chunk()) {
                *before = *head;
            }
            buffer.clear();
            self.datagrams = self.datagrams.saturating_add(1);
        }
        let room = OPENING_BYTES_MAX.saturating_sub(buffer.len());
        let taken = bytes.get(..room.min(bytes.len())).unwrap_or(bytes);
        if closed || taken.is_empty() {
            self.unkept = self.unkept.saturating_add(bytes.len());
            return false;
        }
        buffer.extend_from_slice(taken);
        true
    }

    fn opening(&self, ends: &Ends) -> Opening<'_> {
        Opening {
            transport: self.transport,
            orig: &self.orig,
            resp: &self.resp,
            orig_port: ends.orig.1,
            resp_port: ends.resp.1,
            before: self.before,
            midstream: self.midstream,
            first: self.first.unwrap_or(Side::Orig),
        }
    }

    fn probe(&mut self, asked: Set, ends: &Ends, counters: &mut AppCounters, heard: &mut Heard) {
        let opening = self.opening(ends);
        let mut alive = asked;
        let mut certain = None;
        for (i, protocol) in asked.protocols() {
            match protocol.probe(&opening) {
                Probe::Certain(server) => {
                    certain = Some((i, protocol, server));
                    break;
                }
                Probe::Unsure => {}
                Probe::NotForUs => alive = alive.without(i),
            }
        }
        let Some((i, protocol, server)) = certain else {
            let udp = self.transport == Transport::Udp;
            if (alive.is_empty() && !udp) || self.full() || self.datagrams >= DATAGRAMS_MAX {
                self.undecided(counters);
            } else if !udp {
                self.phase = Phase::Probing(alive);
            }
            return;
        };
        counters.recognised += 1;
        let mut info = Box::new(AppInfo::new(protocol.name(), server));
        let mut follower = protocol.follow();
        if let Some(follow) = follower.as_mut() {
            for (side, bytes) in opening.sides() {
                if !bytes.is_empty() {
                    follow.data(side, bytes, ends, &mut heard.follow);
                }
            }
        }
        for (name, value) in heard.follow.details.drain(..) {
            info.detail(name, value);
        }
        self.phase = Phase::Describing(i, info, follower);
        self.describe(ends, heard, true);
    }

    /// Does the other end's first answer speak against what one end's bytes proved?
    fn contradicted(&self, ends: &Ends) -> bool {
        let Phase::Describing(i, ..) = self.phase else { return false };
        ROSTER.get(i).is_some_and(|p| p.probe(&self.opening(ends)) == Probe::NotForUs)
    }

    /// Begins again with both ends' bytes. Where they prove nothing else, what was told stands.
    fn correct(&mut self, ends: &Ends, counters: &mut AppCounters, heard: &mut Heard) {
        counters.corrected += 1;
        let all = index().over(self.transport);
        self.phase = Phase::Probing(all);
        self.probe(all, ends, counters, heard);
    }

    /// With `news` the description is told even where these bytes add nothing to it.
    fn describe(&mut self, ends: &Ends, heard: &mut Heard, news: bool) {
        let Phase::Describing(i, mut info, follower) = std::mem::replace(&mut self.phase, Phase::Done) else {
            return;
        };
        let before = (!news).then(|| info.clone());
        let opening = self.opening(ends);
        let described = ROSTER.get(i).map_or(Described::Whole, |p| p.describe(&opening, &mut info));
        if before.is_none_or(|before| info != before) {
            heard.app = Some((*info).clone());
        }
        self.phase = Phase::Describing(i, info, follower);
        if described == Described::Whole || self.full() || self.datagrams >= DATAGRAMS_MAX {
            self.follow_only();
        }
    }

    /// The description is done: frees the opening and reads on where there is a follower.
    fn follow_only(&mut self) {
        let Phase::Describing(_, info, follower) = std::mem::replace(&mut self.phase, Phase::Done) else { return };
        self.finish();
        if let Some(follow) = follower.filter(|f| !f.done()) {
            self.phase = Phase::Following(info, follow);
        }
    }

    fn follow_on(&mut self, side: Side, bytes: &[u8], ends: &Ends, heard: &mut Heard) {
        let (info, follow) = match &mut self.phase {
            Phase::Describing(_, info, Some(follow)) => (info, follow),
            Phase::Following(info, follow) => (info, follow),
            _ => return,
        };
        follow.data(side, bytes, ends, &mut heard.follow);
        if !heard.follow.details.is_empty() {
            for (name, value) in heard.follow.details.drain(..) {
                info.detail(name, value);
            }
            heard.app = Some((**info).clone());
        }
        if follow.done() && matches!(self.phase, Phase::Following(..)) {
            self.finish();
        }
    }

    fn undecided(&mut self, counters: &mut AppCounters) {
        if matches!(self.phase, Phase::Probing(_)) {
            counters.undecided += 1;
        }
        self.finish();
    }

    fn finish(&mut self) {
        self.phase = Phase::Done;
        self.orig = Vec::new();
        self.resp = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn ends(transport: Transport) -> Ends {
        Ends { orig: (IpAddr::from([10, 0, 0, 1]), 40_000), resp: (IpAddr::from([10, 0, 0, 2]), 8_080), transport }
    }

    /// Feeds pieces; returns the names told, the last description, the state and its counters.
    fn heard(transport: Transport, pieces: &[(Side, &[u8])]) -> (Vec<String>, Option<AppInfo>, AppState, AppCounters) {
        let (mut state, mut counters) = (AppState::new(transport, false), AppCounters::default());
        let (mut names, mut last) = (Vec::new(), None);
        for (side, bytes) in pieces {
            if let Some(app) = state.data(*side, bytes, &ends(transport), &mut counters).app {
                names.push(app.proto.to_string());
                last = Some(app);
            }
        }
        (names, last, state, counters)
    }

    const POST: &[u8] = b"POST /in HTTP/1.1\r\nHost: web-03\r\n\r\n";
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\n\r\n";

    #[test]
    fn a_flow_in_single_bytes_is_recognised_and_freed() {
        let pieces: Vec<(Side, &[u8])> =
            POST.chunks(1).map(|b| (Side::Orig, b)).chain(ANSWER.chunks(1).map(|b| (Side::Resp, b))).collect();
        let (names, last, state, counters) = heard(Transport::Tcp, &pieces);
        assert!(names.iter().all(|n| n == "http"), "{names:?}");
        assert_eq!(last.and_then(|a| a.version), Some("1.22.1".to_owned()));
        assert!(!state.listening());
        assert_eq!((state.held(), counters.recognised), (0, 1));
    }

    #[test]
    fn a_large_upload_does_not_hide_the_servers_answer() {
        let body = [b'x'; 20_000];
        let (_, last, state, _) =
            heard(Transport::Tcp, &[(Side::Orig, POST), (Side::Orig, &body), (Side::Resp, ANSWER)]);
        assert_eq!(last.and_then(|a| a.product), Some("nginx".to_owned()));
        assert!(!state.listening());
    }

    #[test]
    fn bytes_of_nobody_end_the_search_at_once() {
        let (names, _, state, counters) =
            heard(Transport::Tcp, &[(Side::Orig, b"\x7f\xff\xff\xff\xff\xff\xff\xff\xff")]);
        assert!(names.is_empty() && !state.listening());
        assert_eq!((state.held(), counters.undecided), (0, 1));
    }

    #[test]
    fn a_transfer_seen_from_one_side_is_not_listened_to_for_ever() {
        // A client's SSH line waits for the server's, which the mirror does not show.
        let line = b"SSH-2.0-Go\r\n".as_slice();
        let encrypted = [0xa5; 1400];
        let mut pieces = vec![(Side::Orig, line)];
        pieces.extend(std::iter::repeat_n((Side::Orig, &encrypted[..]), 60));
        let (_, _, state, counters) = heard(Transport::Tcp, &pieces);
        assert!(!state.listening());
        assert_eq!(counters.undecided, 1);
        let (_, _, state, _) = heard(Transport::Tcp, &pieces[..10]);
        assert!(state.listening() && state.held() <= 2 * OPENING_BYTES_MAX);
    }

    #[test]
    fn a_get_to_an_ssh_server_is_corrected_by_the_server() {
        let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let (names, _, _, counters) =
            heard(Transport::Tcp, &[(Side::Orig, get), (Side::Resp, b"SSH-2.0-OpenSSH_9.2p1\r\n")]);
        assert_eq!(names, ["http", "ssh"]);
        assert_eq!(counters.corrected, 1);
        let (names, ..) = heard(Transport::Tcp, &[(Side::Resp, b"SSH-2.0-OpenSSH_9.2p1\r\n"), (Side::Orig, get)]);
        assert!(!names.contains(&"http".to_owned()), "{names:?}");
    }

    #[test]
    fn a_gap_closes_a_direction_and_two_end_the_search() {
        let (_, _, mut state, mut counters) = heard(Transport::Tcp, &[(Side::Resp, b"220 mail.lab.example ready\r\n")]);
        state.gap(Side::Resp, &mut counters);
        assert!(state.listening());
        state.data(Side::Orig, b"EHLO a\r\n", &ends(Transport::Tcp), &mut counters);
        assert_eq!(counters.recognised, 1);
        let (_, _, mut state, mut counters) = heard(Transport::Tcp, &[(Side::Resp, b"220 mail.lab.example ready\r\n")]);
        state.gap(Side::Resp, &mut counters);
        state.gap(Side::Orig, &mut counters);
        assert!(!state.listening());
        assert_eq!((counters.undecided, counters.gaps, state.held()), (1, 2, 0));
    }

    #[test]
    fn keep_alives_and_a_little_nonsense_hide_no_message() {
        let invite = crate::app::sip::tests::INVITE;
        let mut pieces = vec![(Side::Orig, b"\r\n\r\n".as_slice()); 300];
        pieces.push((Side::Orig, invite));
        assert_eq!(heard(Transport::Udp, &pieces).0, ["sip"]);
        let nonsense = (Side::Orig, b"\xf7\xf7nothing".as_slice());
        assert_eq!(heard(Transport::Udp, &[nonsense, (Side::Orig, invite)]).0, ["sip"]);
    }

    #[test]
    fn a_flow_of_nonsense_is_not_listened_to_for_ever() {
        let nonsense = (Side::Orig, b"\xf7\xf7nothing".as_slice());
        let (names, _, state, counters) = heard(Transport::Udp, &[nonsense; DATAGRAMS_MAX as usize]);
        assert!(names.is_empty() && !state.listening());
        assert_eq!((counters.undecided, state.held()), (1, 0));
    }

    #[test]
    fn a_hint_waits_for_its_answer_but_not_for_ever() {
        // An acknowledgement of TFTP's, say: it fits and proves nothing.
        let hint = (Side::Resp, b"\0\x04\0\x01....".as_slice());
        let (_, _, state, _) = heard(Transport::Udp, &[hint; 7]);
        assert!(state.listening());
        let (_, _, state, counters) = heard(Transport::Udp, &[hint; 8]);
        assert!(!state.listening());
        assert_eq!(counters.undecided, 1);
    }

    #[test]
    fn a_follower_reads_on_after_the_opening_was_freed() {
        let mut state = AppState::new(Transport::Tcp, false);
        let mut counters = AppCounters::default();
        let mut tell = |side, bytes: &[u8]| state.data(side, bytes, &ends(Transport::Tcp), &mut counters).follow.expect;
        assert!(tell(Side::Resp, b"220 (vsFTPd 3.0.3)\r\n").is_empty());
        assert!(tell(Side::Orig, b"USER bob\r\nPASV\r\n").is_empty());
        let announced = tell(Side::Resp, b"227 Entering Passive Mode (10,0,0,2,18,52).\r\n");
        assert_eq!(announced.iter().map(|e| e.port).collect::<Vec<_>>(), [0x1234]);
        assert_eq!(state.held(), 0);
        assert!(state.listening());
    }

    #[test]
    fn giving_up_frees_everything_and_is_counted() {
        let (_, _, mut state, mut counters) = heard(Transport::Tcp, &[(Side::Orig, b"SSH-2.0-Go\r\n")]);
        state.give_up(&mut counters);
        assert_eq!((state.held(), state.listening(), counters.given_up), (0, false, 1));
    }
}
