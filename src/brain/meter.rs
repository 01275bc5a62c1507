//! The meter: what a flow carried since it was last counted, from its running totals.
//! At most [`LONG_MAX`] flows under way; of more the end alone tells, and they are counted.

use std::collections::BTreeMap;

use crate::model::{FlowRef, FlowTotals};

const LONG_MAX: usize = 65_536;
/// A flow whose end alone tells is counted as if it had carried the same in each hour.
const HOUR_S: f64 = 3_600.0;

/// Of a flow since it was last counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// Bytes, and of TCP those that were acknowledged and never seen, of `orig` and `resp`.
    pub sides: [(u64, u64); 2],
    /// Bytes of the last hour: all, unless it was not counted for longer.
    pub lately: [u64; 2],
    pub ended: bool,
}

#[derive(Debug, Default)]
pub struct Meter {
    /// Flows under way that were counted already.
    long: BTreeMap<u64, [(u64, u64); 2]>,
    untold: u64,
}

impl Meter {
    /// Running totals of a flow, or its last ones. `None` where they cannot be remembered: its end will tell.
    pub fn added(&mut self, flow: &FlowRef, totals: &FlowTotals, ended: bool) -> Option<Added> {
        let of_orig = totals.missed_of_orig.min(totals.missed_bytes);
        let sides = [(totals.orig_bytes, of_orig), (totals.resp_bytes, totals.missed_bytes - of_orig)];
        let counted = match ended {
            true => self.long.remove(&flow.id),
            false if self.long.len() < LONG_MAX || self.long.contains_key(&flow.id) => {
                Some(self.long.insert(flow.id, sides).unwrap_or_default())
            }
            false => {
                self.untold += 1;
                return None;
            }
        };
        let lasted_s = totals.last_seen.since_s(flow.first_seen);
        let share = if counted.is_none() && lasted_s > HOUR_S { HOUR_S / lasted_s } else { 1.0 };
        let [orig, resp] = counted.unwrap_or_default();
        let since =
            |now: (u64, u64), before: (u64, u64)| (now.0.saturating_sub(before.0), now.1.saturating_sub(before.1));
        let sides = [since(sides[0], orig), since(sides[1], resp)];
        let lately = sides.map(|(bytes, _)| if share < 1.0 { (bytes as f64 * share) as u64 } else { bytes });
        Some(Added { sides, lately, ended })
    }

    pub fn report(&self, out: &mut Vec<(&'static str, u64)>) {
        if self.untold > 0 {
            out.push(("brain.long_flows.untold", self.untold));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Endpoint, Segment, Timestamp, Transport};

    fn flow(id: u64) -> FlowRef {
        let end = Endpoint { ip: [10, 0, 0, 1].into(), port: 1, mac: None, host_hint: None, path: Default::default() };
        let (segment, transport, first_seen) = (Segment::UNTAGGED, Transport::Udp, Timestamp::ZERO);
        FlowRef { id, segment, transport, orig: end, resp: end, first_seen, first_frame: id }
    }

    #[test]
    fn every_byte_counts_once() {
        let mut meter = Meter::default();
        let totals = |n: u64| FlowTotals { orig_bytes: n * 10, resp_bytes: n, ..FlowTotals::default() };
        let sum: u64 = [(3, false), (7, false), (9, true)]
            .into_iter()
            .filter_map(|(n, ended)| meter.added(&flow(1), &totals(n), ended))
            .map(|added| added.sides[0].0)
            .sum();
        assert_eq!(sum, 90);
        assert_eq!(
            meter.added(&flow(1), &totals(2), true).map(|added| added.lately),
            Some([20, 2]),
            "another flow of its id"
        );
    }

    #[test]
    fn a_flow_that_was_not_followed_is_spread_over_its_hours() {
        let mut meter = Meter::default();
        let last_seen = Timestamp::ZERO.plus_s(36_000);
        let totals = FlowTotals { orig_bytes: 1_000, last_seen, ..FlowTotals::default() };
        let added = meter.added(&flow(1), &totals, true).expect("ended");
        assert_eq!((added.sides[0].0, added.lately), (1_000, [100, 0]));
    }

    #[test]
    fn a_full_table_lets_the_end_alone_tell() {
        let mut meter = Meter::default();
        let totals = FlowTotals { orig_bytes: 1, ..FlowTotals::default() };
        for id in 0..LONG_MAX as u64 {
            assert!(meter.added(&flow(id), &totals, false).is_some());
        }
        assert!(meter.added(&flow(u64::MAX), &totals, false).is_none());
        assert!(meter.added(&flow(u64::MAX), &totals, true).is_some());
        assert_eq!(meter.untold, 1);
    }
}
