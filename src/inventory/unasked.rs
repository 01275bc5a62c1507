//! Unasked answers: datagrams that look like a server's though nobody was seen to ask (a mirror that shows one
//! direction, or a query before the capture). One of them proves nothing, anyone may forge it; a server that answers
//! again, in time, is there.
//!
//! At most [`ENDS_MAX`] senders; at the bound the one noticed longest ago is forgotten and counted.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use crate::counters;
use crate::model::{Segment, Timestamp};

/// Between two answers: a burst is one event, whoever sent it.
const APART_S: f64 = 1.0;
/// Answers further apart prove nothing together: 3 polls of an NTP client at its slowest (1,024 s, RFC 5905).
const WINDOW_S: f64 = 3_600.0;
const ENDS_MAX: usize = 4_096;

counters! {
    pub(super) struct UnaskedCounters {
        forgotten => "inventory.unasked.forgotten",
    }
}

type End = (IpAddr, u16, Segment);

#[derive(Debug, Default)]
pub(super) struct Unasked {
    /// When its first answer was seen.
    since: BTreeMap<End, Timestamp>,
    order: VecDeque<End>,
    pub counters: UnaskedCounters,
}

impl Unasked {
    /// An answer of this end was seen: true where another came before it, long enough ago.
    pub fn again(&mut self, end: End, now: Timestamp) -> bool {
        if let Some(since) = self.since.get_mut(&end) {
            let ago = now.since_s(*since);
            if ago > WINDOW_S {
                *since = now;
            }
            return (APART_S..=WINDOW_S).contains(&ago);
        }
        if self.order.len() >= ENDS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.since.remove(&oldest);
            self.counters.forgotten += 1;
        }
        self.order.push_back(end);
        self.since.insert(end, now);
        false
    }

    /// Two answers of one flow, the first and the last at these times.
    pub fn apart(first: Timestamp, last: Timestamp) -> bool {
        last.since_s(first) >= APART_S
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(port: u16) -> End {
        (IpAddr::from([10, 0, 0, 1]), port, Segment::UNTAGGED)
    }

    #[test]
    fn a_second_answer_proves_a_server_and_a_burst_or_one_of_another_day_does_not() {
        let again = |ms: i64| {
            let mut unasked = Unasked::default();
            let first = Timestamp::from_parts(1_000, 0);
            assert!(!unasked.again(end(53), first));
            unasked.again(end(53), first.plus_ms(ms))
        };
        assert_eq!([0, 999, 1_000, 3_600_000, 3_600_001].map(again), [false, false, true, true, false]);
    }

    #[test]
    fn another_ends_answer_is_no_second_one() {
        let mut unasked = Unasked::default();
        assert!(!unasked.again(end(53), Timestamp::from_parts(1, 0)));
        assert!(!unasked.again(end(54), Timestamp::from_parts(9, 0)));
    }

    #[test]
    fn a_flood_is_bounded() {
        let mut unasked = Unasked::default();
        for port in 0..5_000 {
            unasked.again(end(port), Timestamp::ZERO);
        }
        assert_eq!((unasked.since.len(), unasked.order.len()), (ENDS_MAX, ENDS_MAX));
        assert_eq!(unasked.counters.forgotten, 5_000 - ENDS_MAX as u64);
    }
}
