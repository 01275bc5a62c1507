//! The recognition of one flow: probing, then describing, then following, then nothing.
//!
//! Probing ends undecided (`app_proto` null) when every protocol declined, when neither direction takes more bytes,
//! when [`UNKEPT_BYTES_MAX`] bytes came that could not be kept, or after [`DATAGRAMS_MAX`] datagrams. Describing ends
//! when the protocol says so or when neither direction takes more. The owner may end both early
//! ([`AppState::give_up`]) when its memory budget is spent.

use super::{Described, Ends, Follow, FollowOut, OPENING_BYTES_MAX, Opening, Probe, ROSTER};
use crate::counters;
use crate::model::{AppInfo, Side, Transport};

/// A UDP protocol that has not shown itself in this many datagrams is not looked for any longer.
const DATAGRAMS_MAX: u8 = 8;
/// One direction is full and goes on: a transfer whose other direction the mirror does not show. Probing does not
/// wait for that direction longer than this.
const UNKEPT_BYTES_MAX: usize = 64 * 1024;

counters! {
    /// What became of recognition.
    pub struct AppCounters {
        recognised => "app.recognised",
        undecided => "app.undecided",
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
    first: Option<Side>,
    midstream: bool,
    /// Directions that take no more bytes: a gap follows what is held.
    closed: [bool; 2],
    datagrams: u8,
    /// Bytes that came and were not kept while probing.
    unkept: usize,
    phase: Phase,
}

enum Phase {
    /// Bit i is set while protocol i of the roster may still be it.
    Probing(u128),
    Describing(usize, Box<AppInfo>, Option<Box<dyn Follow>>),
    Following(Box<AppInfo>, Box<dyn Follow>),
    Done,
}

const _: () = assert!(ROSTER.len() <= 128, "the probing mask is a u128");

impl AppState {
    pub fn new(transport: Transport, midstream: bool) -> Self {
        let mask =
            ROSTER.iter().enumerate().filter(|(_, p)| p.runs_over(transport)).fold(0u128, |mask, (i, _)| mask | 1 << i);
        AppState {
            transport,
            orig: Vec::new(),
            resp: Vec::new(),
            first: None,
            midstream,
            closed: [false; 2],
            datagrams: 0,
            unkept: 0,
            phase: if mask == 0 { Phase::Done } else { Phase::Probing(mask) },
        }
    }

    /// False once no byte can tell anything more: reassembly of this flow may stop.
    pub fn listening(&self) -> bool {
        !matches!(self.phase, Phase::Done)
    }

    /// Bytes held on the heap, for the owner's budget.
    pub fn held(&self) -> usize {
        self.orig.capacity() + self.resp.capacity()
    }

    /// Stops and frees everything; what was recognised stays recognised.
    pub fn give_up(&mut self, counters: &mut AppCounters) {
        if self.listening() {
            counters.given_up += 1;
            self.finish();
        }
    }

    /// In-order bytes of one direction (TCP, SCTP), or one datagram (UDP).
    pub fn data(&mut self, side: Side, bytes: &[u8], ends: &Ends, counters: &mut AppCounters) -> Heard {
        let mut heard = Heard::default();
        if bytes.is_empty() {
            return heard;
        }
        self.first.get_or_insert(side);
        let kept = matches!(self.phase, Phase::Probing(_) | Phase::Describing(..)) && self.keep(side, bytes);
        if let Phase::Probing(mask) = self.phase {
            if kept {
                self.probe(mask, ends, counters, &mut heard);
            } else if self.unkept > UNKEPT_BYTES_MAX {
                self.undecided(counters);
            }
        } else {
            self.follow_on(side, bytes, ends, &mut heard);
            if kept {
                self.describe(ends, &mut heard);
            }
        }
        heard
    }

    /// Bytes of this direction are missing from here on.
    pub fn gap(&mut self, side: Side, counters: &mut AppCounters) {
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
            midstream: self.midstream,
            first: self.first.unwrap_or(Side::Orig),
        }
    }

    fn probe(&mut self, mask: u128, ends: &Ends, counters: &mut AppCounters, heard: &mut Heard) {
        let opening = self.opening(ends);
        let mut alive = mask;
        let mut certain = None;
        for (i, protocol) in ROSTER.iter().enumerate() {
            if mask & (1 << i) == 0 {
                continue;
            }
            match protocol.probe(&opening) {
                Probe::Certain(server) => {
                    certain = Some((i, server));
                    break;
                }
                Probe::Unsure => {}
                // The next datagram is another message: a UDP protocol may decline one and own the next.
                Probe::NotForUs if self.transport == Transport::Udp => {}
                Probe::NotForUs => alive &= !(1 << i),
            }
        }
        let Some((i, server)) = certain else {
            if alive == 0 || self.full() || self.datagrams >= DATAGRAMS_MAX {
                self.undecided(counters);
            } else {
                self.phase = Phase::Probing(alive);
            }
            return;
        };
        counters.recognised += 1;
        let Some(protocol) = ROSTER.get(i) else { return };
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
        heard.app = Some((*info).clone());
        self.phase = Phase::Describing(i, info, follower);
        self.describe(ends, heard);
    }

    fn describe(&mut self, ends: &Ends, heard: &mut Heard) {
        let Phase::Describing(i, mut info, follower) = std::mem::replace(&mut self.phase, Phase::Done) else {
            return;
        };
        let before = info.clone();
        let opening = self.opening(ends);
        let described = ROSTER.get(i).map_or(Described::Whole, |p| p.describe(&opening, &mut info));
        if heard.app.is_some() || info != before {
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
