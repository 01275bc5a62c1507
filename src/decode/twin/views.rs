//! How far a TCP connection has come, as each observation point has seen it: tells a retransmission from a late copy,
//! and a large frame from the segments that a card or switch made of it (TSO, GRO).
//! [`FLOWS`] connections by hash, each from at most [`POINTS`] points; a newer one takes the place, which is counted
//! where its time had not passed.

use super::WINDOW_NS;
use super::print::Segment;

/// A connection matters here while its copies are under way: 50 ms. 7 MiB.
const FLOWS: usize = 1 << 14;
const POINTS: usize = 3;

/// Contiguous bytes that one point saw, of the present window and the one before it.
#[derive(Clone, Copy, Debug, Default)]
struct Range {
    start: u32,
    middle: u32,
    next: u32,
    /// The same before the last hole.
    before: (u32, u32),
    sent: bool,
}

/// What one side sent, as one point saw it.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    first: Range,
    /// Bytes that it had shown before: sent again.
    again: Range,
    /// Highest acknowledgement that the other side sent.
    acked: u32,
    /// `acked` was repeated so often.
    repeats: u8,
    was_acked: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct View {
    /// 0: nobody's.
    point: u16,
    last: i64,
    /// When `middle` was set.
    turned: i64,
    up: Stream,
    down: Stream,
}

#[derive(Clone, Copy, Debug, Default)]
struct Connection {
    flow: u64,
    views: [View; POINTS],
}

pub(super) struct Views(Box<[Connection]>);

/// What a segment is, by what went before it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    /// Its receiver had acknowledged it, or asked for it three times: it was sent again.
    pub again: bool,
    /// New to this point, and wholly among the bytes that another point has just shown.
    pub covered: bool,
    /// Another connection, still under way, was forgotten for it.
    pub displaced: bool,
}

/// Signed distance from `b` to `a`.
fn ahead(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

impl Views {
    pub fn new() -> Self {
        Views(vec![Connection::default(); FLOWS].into_boxed_slice())
    }

    /// Takes one segment that `point` saw at `time`.
    pub fn take(&mut self, segment: &Segment, point: u16, time: i64) -> Standing {
        let mut standing = Standing::default();
        let slot = (segment.flow >> 32) as usize % FLOWS;
        let Some(connection) = self.0.get_mut(slot) else { return standing };
        if connection.flow != segment.flow {
            standing.displaced = connection.views.iter().any(|v| v.point != 0 && time - v.last <= WINDOW_NS);
            *connection = Connection { flow: segment.flow, ..Connection::default() };
        }
        let end = segment.seq.wrapping_add(segment.payload_len);
        let own = connection.views.iter().find(|v| v.point == point).map(|view| view.of(segment.up));
        let first = own.is_none_or(|stream| stream.first.advances(end));
        let advances = first || own.is_none_or(|stream| stream.again.advances(end));
        let shown = advances
            && connection.views.iter().filter(|v| v.point != 0 && v.point != point).any(|view| {
                let fresh = (time - view.last).abs() <= WINDOW_NS;
                fresh && view.of(segment.up).range(first).holds(segment.seq, end)
            });
        let Some(view) = connection.view(point, time) else { return standing };
        view.last = time;
        let age = time - view.turned;
        if age > WINDOW_NS {
            view.turned = time;
            for stream in [&mut view.up, &mut view.down] {
                stream.first.turn(age);
                stream.again.turn(age);
            }
        }
        if segment.payload_len > 0 {
            let stream = view.of_mut(segment.up);
            let asked = stream.repeats >= 3 && stream.acked == segment.seq;
            standing.again = stream.was_acked && (ahead(stream.acked, end) >= 0 || asked);
            standing.covered = shown;
            let range = if first { &mut stream.first } else { &mut stream.again };
            range.send(segment.seq, end);
        }
        if segment.has_ack {
            view.of_mut(!segment.up).acknowledge(segment);
        }
        standing
    }
}

impl Connection {
    /// The view of a point; a new one takes the place of the longest silent.
    fn view(&mut self, point: u16, time: i64) -> Option<&mut View> {
        let known = self.views.iter().position(|v| v.point == point);
        let at = known.or_else(|| {
            let longest_silent = self.views.iter().enumerate().min_by_key(|(_, v)| (v.point != 0, v.last));
            longest_silent.map(|(at, _)| at)
        })?;
        let view = self.views.get_mut(at)?;
        if known.is_none() {
            *view = View { point, turned: time, ..View::default() };
        }
        Some(view)
    }
}

impl View {
    fn of(&self, up: bool) -> &Stream {
        if up { &self.up } else { &self.down }
    }

    fn of_mut(&mut self, up: bool) -> &mut Stream {
        if up { &mut self.up } else { &mut self.down }
    }
}

impl Range {
    /// Is there anything new up to `end`?
    fn advances(&self, end: u32) -> bool {
        !self.sent || ahead(end, self.next) > 0
    }

    fn holds(&self, seq: u32, end: u32) -> bool {
        let within = |start, next| ahead(seq, start) >= 0 && ahead(next, end) >= 0;
        self.sent && (within(self.start, self.next) || within(self.before.0, self.before.1))
    }

    fn send(&mut self, seq: u32, end: u32) {
        if !self.sent || ahead(seq, self.next) > 0 {
            // A hole: what lies before it is whole for itself only.
            let before = if self.sent { (self.start, self.next) } else { (seq, seq) };
            *self = Range { start: seq, middle: seq, next: end, before, sent: true };
        } else if ahead(end, self.next) > 0 {
            self.next = end;
        }
    }

    /// A window of `age` has passed.
    fn turn(&mut self, age: i64) {
        if age > 2 * WINDOW_NS {
            self.start = self.next;
            self.before = (self.next, self.next);
        } else {
            self.start = self.middle;
        }
        self.middle = self.next;
    }
}

impl Stream {
    fn range(&self, first: bool) -> &Range {
        if first { &self.first } else { &self.again }
    }

    fn acknowledge(&mut self, segment: &Segment) {
        if !self.was_acked || ahead(segment.ack, self.acked) > 0 {
            (self.acked, self.repeats, self.was_acked) = (segment.ack, 0, true);
        } else if segment.ack == self.acked && segment.payload_len == 0 && !segment.controls {
            self.repeats = self.repeats.saturating_add(1);
        }
    }
}
