//! How far a TCP connection has come, as each observation point has seen it: tells a retransmission from a late copy,
//! and by [`Spans`] a large frame from the segments that a card or switch made of it.
//! [`FLOWS`] connections by hash, each from at most [`POINTS`] points; a newer one takes the place, which is counted
//! where its time had not passed.

use super::WINDOW_NS;
use super::print::Segment;
use super::spans::{ACROSS, Spans, Wanted, ahead};

/// A connection matters here while its copies are under way: 50 ms. 8 MiB.
const FLOWS: usize = 1 << 14;
const POINTS: usize = 4;

/// What the other side acknowledged of what one side sent, as one point saw it.
#[derive(Clone, Copy, Debug, Default)]
struct Acks {
    highest: u32,
    /// It was repeated so often.
    repeats: u8,
    some: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct View {
    from: Seen,
    last: i64,
    up: Acks,
    down: Acks,
}

/// Who shows a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// 0: nobody.
    pub point: u16,
    /// Of a point that sees both sides of a router, which one; 0 of all others.
    pub side: u16,
}

#[derive(Clone, Copy, Debug, Default)]
struct Connection {
    flow: u64,
    views: [View; POINTS],
    spans: Spans,
    /// Bytes of a direction that were taken back on the other side of a router.
    taken: (u32, u32, bool),
}

pub(super) struct Views {
    connections: Box<[Connection]>,
    /// Spans forgotten before their window had passed.
    pub full: u64,
}

/// What a segment is, by what went before it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    /// Its receiver had acknowledged it, or asked for it three times: it was sent again.
    pub again: bool,
    /// New to this point, and wholly among the bytes that others have just shown.
    pub covered: bool,
    /// Another connection, still under way, was forgotten for it.
    pub displaced: bool,
    /// Its connection and place in it, where it carries bytes.
    pub wanted: Option<(u64, Wanted)>,
}

impl Views {
    pub fn new() -> Self {
        Views { connections: vec![Connection::default(); FLOWS].into_boxed_slice(), full: 0 }
    }

    /// Takes one segment that came at `time`.
    pub fn take(&mut self, segment: &Segment, from: Seen, time: i64, ttl: u8) -> Standing {
        let mut standing = Standing::default();
        let Some(connection) = self.connections.get_mut(place(segment.flow)) else { return standing };
        if connection.flow != segment.flow {
            standing.displaced = connection.views.iter().any(|v| v.from.point != 0 && time - v.last <= WINDOW_NS);
            *connection = Connection { flow: segment.flow, ..Connection::default() };
        }
        let Some((bit, view)) = connection.view(from, time) else { return standing };
        if segment.payload_len > 0 {
            let end = segment.seq.wrapping_add(segment.payload_len);
            let Acks { highest, repeats, some } = *view.of_mut(segment.up);
            let asked = some && repeats >= 3 && highest == segment.seq;
            standing.again = some && (ahead(highest, end) >= 0 || asked);
            let wanted = Wanted {
                start: segment.seq,
                end,
                up: segment.up,
                bit,
                now_ms: (time / 1_000_000) as u32,
                ttl,
                across: false,
                of_ttl: None,
                acked: some.then_some(highest),
                asked,
            };
            standing.wanted = Some((segment.flow, wanted));
            standing.covered = connection.spans.cover(&wanted);
        }
        if segment.has_ack
            && let Some((_, view)) = connection.view(from, time)
        {
            view.of_mut(!segment.up).acknowledge(segment);
        }
        standing
    }

    /// The segment as it would be on the other side of a router, with this TTL, if it has shown there and its copy on
    /// this side not yet.
    pub fn beyond(&self, segment: &Segment, wanted: &Wanted, ttl: u8) -> Option<Wanted> {
        let connection = self.connections.get(place(segment.flow)).filter(|known| known.flow == segment.flow)?;
        let wanted = Wanted { bit: ACROSS, of_ttl: Some(ttl), ..*wanted };
        connection.spans.cover(&wanted).then_some(wanted)
    }

    /// Bytes up to `end` were taken back on the other side: the copies of this one are.
    pub fn taken(&mut self, flow: u64, wanted: &Wanted, end: u32) {
        if let Some(connection) = self.connections.get_mut(place(flow)).filter(|known| known.flow == flow) {
            connection.taken = (wanted.start, end, wanted.up);
        }
    }

    /// What [`Self::beyond`] told is known here.
    pub fn shown(&mut self, segment: &Segment, wanted: &Wanted) {
        if let Some(connection) = self.connections.get_mut(place(segment.flow)) {
            self.full += connection.spans.settle(wanted, false);
        }
    }

    /// What became of it: handed on, or a copy.
    pub fn settle(&mut self, standing: &Standing, new: bool) {
        let Some((flow, wanted)) = &standing.wanted else { return };
        if let Some(connection) = self.connections.get_mut(place(*flow)).filter(|known| known.flow == *flow) {
            let (start, end, up) = connection.taken;
            let across = up == wanted.up && ahead(wanted.start, start) >= 0 && ahead(end, wanted.end) >= 0;
            self.full += connection.spans.settle(&Wanted { across, ..*wanted }, new);
        }
    }
}

fn place(flow: u64) -> usize {
    (flow >> 32) as usize % FLOWS
}

impl Connection {
    /// The view of a point, and its bit; a new one takes the place of the longest silent.
    fn view(&mut self, from: Seen, time: i64) -> Option<(u8, &mut View)> {
        let known = self.views.iter().position(|v| v.from == from);
        let at = known.or_else(|| {
            let longest_silent = self.views.iter().enumerate().min_by_key(|(_, v)| (v.from.point != 0, v.last));
            longest_silent.map(|(at, _)| at)
        })?;
        let bit = 1 << at;
        let view = self.views.get_mut(at)?;
        if known.is_none() {
            *view = View { from, ..View::default() };
            self.spans.forget(bit);
        }
        view.last = time;
        Some((bit, view))
    }
}

impl View {
    fn of_mut(&mut self, up: bool) -> &mut Acks {
        if up { &mut self.up } else { &mut self.down }
    }
}

impl Acks {
    fn acknowledge(&mut self, segment: &Segment) {
        if !self.some || ahead(segment.ack, self.highest) > 0 {
            *self = Acks { highest: segment.ack, repeats: 0, some: true };
        } else if segment.ack == self.highest && segment.payload_len == 0 && !segment.controls {
            self.repeats = self.repeats.saturating_add(1);
        }
    }
}
