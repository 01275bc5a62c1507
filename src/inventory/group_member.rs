//! Who sends to a group and who listens to it: senders as their flows prove them, members by their reports (IGMP,
//! MLD) and by what they answered.
//!
//! At most [`SENDERS_MAX`] senders and [`MEMBERS_MAX`] members; at either bound a new one is refused and counted.
//! A member stays one until it says that it leaves: without a querier on its network it reports only once.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::records::Records;
use super::service::RowKey;
use crate::counters;
use crate::model::{Segment, Timestamp, Transport};
use crate::store::{Batch, Kind, Store, StoreError};

static SENDER: Kind = Kind { tag: 0x1e, name: "group sender", version: 1 };
static MEMBER: Kind = Kind { tag: 0x1f, name: "group member", version: 1 };

const SENDERS_MAX: usize = 16_384;
const MEMBERS_MAX: usize = 65_536;
/// Groups of one sender that are looked at: a market's feeds are some hundreds, and the first tell.
const GROUPS_JUDGED: usize = 64;

counters! {
    pub(super) struct MemberCounters {
        senders_refused => "inventory.group_sender.refused",
        members_refused => "inventory.group_member.refused",
    }
}

/// Where it sends from and on which port of which group: by address and not by VM, so that no merge concerns it.
type Sender = (Segment, IpAddr, Transport, u16, IpAddr);
type Group = (Segment, IpAddr, Transport, u16);

#[derive(Debug)]
pub(super) struct GroupMembers {
    /// And since when.
    senders: Records<Sender, Timestamp>,
    /// The first sender of each group; derived from `senders`.
    first: BTreeMap<Group, (Timestamp, IpAddr)>,
    /// Who listens to which group, and when it said so last.
    members: Records<(Segment, IpAddr, IpAddr), Timestamp>,
    pub counters: MemberCounters,
}

impl GroupMembers {
    pub fn new() -> Self {
        GroupMembers {
            senders: Records::new(&SENDER),
            first: BTreeMap::new(),
            members: Records::new(&MEMBER),
            counters: MemberCounters::default(),
        }
    }

    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let (senders, members) = (Records::load(&SENDER, store)?, Records::load(&MEMBER, store)?);
        let mut groups = GroupMembers { senders, members, ..GroupMembers::new() };
        for ((segment, ip, transport, port, group), since) in groups.senders.iter() {
            let first = groups.first.entry((*segment, *group, *transport, *port)).or_insert((*since, *ip));
            *first = (*first).min((*since, *ip));
        }
        Ok(groups)
    }

    /// The service of this row sent to the group.
    pub fn sent(&mut self, row: &RowKey, group: IpAddr, now: Timestamp) {
        let sender = (row.segment, row.ip, row.key.transport, row.key.port, group);
        if self.senders.contains(&sender) {
            return;
        }
        if self.senders.len() >= SENDERS_MAX {
            self.counters.senders_refused += 1;
            return;
        }
        self.senders.put(sender, now);
        self.first.entry((row.segment, group, row.key.transport, row.key.port)).or_insert((now, row.ip));
    }

    pub fn joined(&mut self, segment: Segment, group: IpAddr, member: IpAddr, now: Timestamp) {
        let key = (segment, group, member);
        if let Some(heard) = self.members.touch(&key) {
            *heard = now;
        } else if self.members.len() >= MEMBERS_MAX {
            self.counters.members_refused += 1;
        } else {
            self.members.put(key, now);
        }
    }

    pub fn left(&mut self, segment: Segment, group: IpAddr, member: IpAddr) {
        self.members.remove(&(segment, group, member));
    }

    /// The groups that a row's service sends to, in order.
    pub fn groups(&self, row: &RowKey) -> impl Iterator<Item = IpAddr> {
        let (segment, ip, transport, port) = (row.segment, row.ip, row.key.transport, row.key.port);
        let from = (segment, ip, transport, port, IpAddr::from([0, 0, 0, 0]));
        let own = move |s: &Sender| (s.0, s.1, s.2, s.3) == (segment, ip, transport, port);
        self.senders.range(from..).map(|(sender, _)| *sender).take_while(own).map(|sender| sender.4)
    }

    /// How many others listen to one of these groups, each counted once.
    pub fn members(&self, segment: Segment, groups: &[IpAddr], but: IpAddr) -> usize {
        let of = |group: IpAddr| {
            let range = self.members.range((segment, group, IpAddr::from([0, 0, 0, 0]))..);
            range.map(|(key, _)| *key).take_while(move |key| (key.0, key.1) == (segment, group)).map(|key| key.2)
        };
        let all: std::collections::BTreeSet<IpAddr> =
            groups.iter().flat_map(|g| of(*g)).filter(|ip| *ip != but).collect();
        all.len()
    }

    /// Did somebody else of the segment send to each of the row's groups before it did?
    pub fn known_before(&self, row: &RowKey) -> bool {
        let mut groups = self.groups(row).take(GROUPS_JUDGED).peekable();
        groups.peek().is_some()
            && groups.all(|group| {
                let first = self.first.get(&(row.segment, group, row.key.transport, row.key.port));
                first.is_some_and(|(_, ip)| *ip != row.ip)
            })
    }

    pub fn save(&mut self, batch: &mut Batch, all: bool) {
        self.senders.save(batch, all);
        self.members.save(batch, all);
    }

    pub fn sizes(&self) -> [(&'static str, usize); 2] {
        [("inventory.group_senders", self.senders.len()), ("inventory.group_members", self.members.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ServiceKey, VmId};
    use crate::store::MemoryStore;

    const HERE: Segment = Segment::UNTAGGED;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn feed(last: u8) -> IpAddr {
        IpAddr::from([239, 1, 1, last])
    }

    fn row(last: u8) -> RowKey {
        let key = ServiceKey { vm: VmId::default(), transport: Transport::Udp, port: 30_001 };
        RowKey { key, segment: HERE, ip: ip(last) }
    }

    fn at(second: u64) -> Timestamp {
        Timestamp::from_parts(second, 0)
    }

    #[test]
    fn the_second_sender_finds_the_group_known_and_the_first_does_not() {
        let mut groups = GroupMembers::new();
        groups.sent(&row(1), feed(1), at(1));
        groups.sent(&row(2), feed(1), at(2));
        assert!(!groups.known_before(&row(1)) && groups.known_before(&row(2)));
        // One group of its own is enough to be new.
        groups.sent(&row(2), feed(2), at(3));
        assert!(!groups.known_before(&row(2)) && !groups.known_before(&row(3)));
    }

    #[test]
    fn members_join_once_and_leave_and_a_restart_forgets_nothing() {
        let (mut groups, mut store) = (GroupMembers::new(), MemoryStore::default());
        groups.sent(&row(1), feed(1), at(1));
        groups.sent(&row(1), feed(2), at(1));
        groups.sent(&row(2), feed(2), at(2));
        for (group, member) in [(1, 5), (1, 6), (2, 6), (2, 6), (2, 7), (1, 1)] {
            groups.joined(HERE, feed(group), ip(member), at(3));
        }
        groups.left(HERE, feed(2), ip(7));
        let mut batch = Batch::default();
        groups.save(&mut batch, true);
        store.apply(&batch).unwrap();
        let groups = GroupMembers::load(&store).unwrap();
        let sent: Vec<IpAddr> = groups.groups(&row(1)).collect();
        assert_eq!(sent, [feed(1), feed(2)]);
        // The sender itself is none of its listeners.
        assert_eq!(groups.members(HERE, &sent, ip(1)), 2);
        assert!(groups.groups(&row(2)).eq([feed(2)]) && groups.known_before(&row(2)));
    }

    #[test]
    fn a_flood_of_joins_is_bounded() {
        let mut groups = GroupMembers::new();
        for n in 0..MEMBERS_MAX as u32 + 9 {
            groups.joined(HERE, IpAddr::from((0xef00_0000 + n).to_be_bytes()), ip(1), at(1));
        }
        assert_eq!((groups.members.len(), groups.counters.members_refused), (MEMBERS_MAX, 9));
    }
}
