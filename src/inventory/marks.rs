//! Marks: DSCP and 802.1p priority of the frames that a VM sends, by service.
//!
//! At most [`MARKS_MAX`] of services and marks together; further ones are refused, which the owner counts. A flow counts
//! once when it ends, and once a minute while it lasts.

use serde::{Deserialize, Serialize};

use crate::model::{Mark, Transport};

const MARKS_MAX: usize = 32;
/// Flows (or minutes of them) before a service has a mark.
const SEEN_MIN: u32 = 3;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marks(Vec<Marked>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marked {
    service: (Transport, u16),
    serves: bool,
    mark: Mark,
    seen: u32,
}

impl Marks {
    /// False: there is no room.
    pub fn add(&mut self, service: (Transport, u16), serves: bool, mark: Mark) -> bool {
        let same = |m: &&mut Marked| (m.service, m.serves, m.mark) == (service, serves, mark);
        if let Some(known) = self.0.iter_mut().find(same) {
            known.seen = known.seen.saturating_add(1);
            return true;
        }
        let room = self.0.len() < MARKS_MAX;
        if room {
            self.0.push(Marked { service, serves, mark, seen: 1 });
        }
        room
    }

    /// `tcp/80 DSCP 46`, `to tcp/2049 DSCP 10, 802.1p 3`: what is usual for each service, in order.
    pub fn usual(&self) -> Vec<String> {
        self.services().iter().filter_map(|s| Some(format!("{} {}", name(*s), self.of(*s)?))).collect()
    }

    /// What is usual of a service now and was otherwise.
    pub fn differ(&self, before: &Marks) -> Vec<String> {
        let differs = |service: &((Transport, u16), bool)| {
            let (was, is) = (before.of(*service)?, self.of(*service)?);
            (was != is).then(|| format!("{} {is}, before {was}", name(*service)))
        };
        self.services().iter().filter_map(differs).collect()
    }

    fn services(&self) -> Vec<((Transport, u16), bool)> {
        let mut services: Vec<_> = self.0.iter().map(|m| (m.service, m.serves)).collect();
        services.sort_unstable();
        services.dedup();
        services
    }

    /// The mark of four flows in five at least.
    fn of(&self, (service, serves): ((Transport, u16), bool)) -> Option<Mark> {
        let of_it = || self.0.iter().filter(move |m| m.service == service && m.serves == serves);
        let all: u64 = of_it().map(|m| u64::from(m.seen)).sum();
        let most = of_it().max_by_key(|m| (m.seen, m.mark))?;
        (most.seen >= SEEN_MIN && u64::from(most.seen) * 5 >= all * 4).then_some(most.mark)
    }
}

fn name(((transport, port), serves): ((Transport, u16), bool)) -> String {
    format!("{}{transport}/{port}", if serves { "" } else { "to " })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: (Transport, u16) = (Transport::Tcp, 80);

    fn marks(rows: &[((Transport, u16), bool, u8, u32)]) -> Marks {
        let mut marks = Marks::default();
        for (service, serves, dscp, times) in rows {
            for _ in 0..*times {
                assert!(marks.add(*service, *serves, Mark { dscp: *dscp, pcp: 0 }));
            }
        }
        marks
    }

    #[test]
    fn another_mark_of_the_same_service_differs_by_side() {
        let before = marks(&[(WEB, true, 46, 10), (WEB, false, 10, 10)]);
        let after = marks(&[(WEB, true, 0, 3), (WEB, false, 10, 3)]);
        assert_eq!(after.differ(&before), ["tcp/80 DSCP 0, before DSCP 46"]);
        assert_eq!(before.usual(), ["to tcp/80 DSCP 10", "tcp/80 DSCP 46"]);
    }

    #[test]
    fn a_service_without_a_usual_mark_and_a_new_one_do_not_differ() {
        let before = marks(&[(WEB, true, 46, 10)]);
        assert!(marks(&[(WEB, true, 0, 2)]).differ(&before).is_empty(), "too few");
        assert!(marks(&[(WEB, true, 0, 5), (WEB, true, 46, 5)]).differ(&before).is_empty(), "mixed");
        assert!(marks(&[((Transport::Tcp, 443), true, 0, 5)]).differ(&before).is_empty(), "new");
    }

    #[test]
    fn marks_are_bounded() {
        let mut marks = Marks::default();
        let added = (0..1_000).filter(|port| marks.add((Transport::Udp, *port), true, Mark::default())).count();
        assert_eq!(added, MARKS_MAX);
    }
}
