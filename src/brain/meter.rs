//! The meter: what a flow carried since it was last counted, from its running totals.
//! At most [`LONG_MAX`] flows under way; of more the end alone tells, and they are counted.

use std::collections::BTreeMap;

use crate::model::{FlowRef, FlowTotals};

const LONG_MAX: usize = 65_536;
/// A flow whose end alone tells is counted as if it had carried the same in each hour.
const HOUR_S: f64 = 3_600.0;

#[derive(Debug, Default)]
pub struct Meter {
    /// Flows under way that were counted already.
    long: BTreeMap<u64, [u64; 2]>,
    untold: u64,
}

impl Meter {
    /// Running totals of a flow, or its last ones: the bytes of both directions since it was last counted, of the last
    /// hour where that is longer ago. `None` where they cannot be remembered: its end will tell.
    pub fn lately(&mut self, flow: &FlowRef, totals: &FlowTotals, ended: bool) -> Option<[u64; 2]> {
        let bytes = [totals.orig_bytes, totals.resp_bytes];
        let counted = match ended {
            true => self.long.remove(&flow.id),
            false if self.long.len() < LONG_MAX || self.long.contains_key(&flow.id) => {
                Some(self.long.insert(flow.id, bytes).unwrap_or_default())
            }
            false => {
                self.untold += 1;
                return None;
            }
        };
        let lasted_s = totals.last_seen.since_s(flow.first_seen);
        let share = if counted.is_none() && lasted_s > HOUR_S { HOUR_S / lasted_s } else { 1.0 };
        let [orig, resp] = counted.unwrap_or_default();
        let added = [bytes[0].saturating_sub(orig), bytes[1].saturating_sub(resp)];
        Some(added.map(|bytes| if share < 1.0 { (bytes as f64 * share) as u64 } else { bytes }))
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
            .filter_map(|(n, ended)| meter.lately(&flow(1), &totals(n), ended))
            .map(|[orig, _]| orig)
            .sum();
        assert_eq!(sum, 90);
        assert_eq!(meter.lately(&flow(1), &totals(2), true), Some([20, 2]), "another flow of its id");
    }

    #[test]
    fn a_flow_that_was_not_followed_is_spread_over_its_hours() {
        let mut meter = Meter::default();
        let last_seen = Timestamp::ZERO.plus_s(36_000);
        let totals = FlowTotals { orig_bytes: 1_000, last_seen, ..FlowTotals::default() };
        assert_eq!(meter.lately(&flow(1), &totals, true), Some([100, 0]));
    }

    #[test]
    fn a_full_table_lets_the_end_alone_tell() {
        let mut meter = Meter::default();
        let totals = FlowTotals { orig_bytes: 1, ..FlowTotals::default() };
        for id in 0..LONG_MAX as u64 {
            assert!(meter.lately(&flow(id), &totals, false).is_some());
        }
        assert!(meter.lately(&flow(u64::MAX), &totals, false).is_none());
        assert!(meter.lately(&flow(u64::MAX), &totals, true).is_some());
        assert_eq!(meter.untold, 1);
    }
}
