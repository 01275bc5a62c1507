//! Group queries: who asked a multicast group or a broadcast address, so that unicast answers to the asking port
//! make the answerer a server and never the asker (mDNS, SSDP, LLMNR, NBNS, WS-Discovery, DHCP).
//!
//! At most [`QUERIES_MAX`] askers; at the bound the one that asked longest ago is forgotten and counted.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use crate::counters;
use crate::model::{Segment, Timestamp};

const QUERIES_MAX: usize = 8_192;
/// An answer may come for this long after the last query: WS-Discovery and SSDP let answerers wait up to 5 s, and
/// a socket that asks again and again is one flow, of which only the first query and a report a minute are told.
const ANSWER_S: i64 = 70;
/// So often a socket sends to a group, unanswered, before it is no query: SSDP, mDNS and WS-Discovery ask at most
/// four times (RFC 6762 section 5.2, UPnP 2.0 section 1.3.2), a stream, a feed or a beacon goes on.
const SENDS: u64 = 10;

counters! {
    pub(super) struct GroupCounters {
        forgotten => "inventory.group_query.forgotten",
    }
}

type Asker = (IpAddr, u16, Segment);

#[derive(Clone, Copy, Debug)]
struct Asked {
    group: IpAddr,
    port: u16,
    /// Answers are awaited until then.
    until: Timestamp,
    answered: bool,
    /// Flows it began without a pause.
    flows: u64,
}

#[derive(Debug, Default)]
pub(super) struct GroupQueries {
    /// What was asked last.
    asked: BTreeMap<Asker, Asked>,
    order: VecDeque<(Asker, Timestamp)>,
    pub counters: GroupCounters,
}

/// What a datagram to an asker's port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// From the port that the group was asked on: its sender serves there.
    Serves,
    /// From another port: neither end serves.
    Stray,
}

impl GroupQueries {
    /// A flow to a group began.
    pub fn asked(&mut self, segment: Segment, (ip, port): (IpAddr, u16), group: (IpAddr, u16), now: Timestamp) {
        let asker = (ip, port, segment);
        let until = now.plus_s(ANSWER_S);
        let new = Asked { group: group.0, port: group.1, until, answered: false, flows: 0 };
        let asked = self.asked.entry(asker).or_insert(new);
        if (asked.group, asked.port) != group || asked.until < now {
            *asked = new;
        }
        asked.until = until;
        asked.flows += 1;
        self.order.push_back((asker, until));
        self.shed(now);
    }

    /// What was sent to the group was no query: the payload proved that its sender serves (a DHCP offer).
    pub fn withdraw(&mut self, segment: Segment, ip: IpAddr, port: u16) {
        self.asked.remove(&(ip, port, segment));
    }

    /// The flow goes on: answers are awaited longer.
    pub fn asks_on(&mut self, segment: Segment, ip: IpAddr, port: u16, now: Timestamp) {
        let asker = (ip, port, segment);
        if let Some(asked) = self.asked.get_mut(&asker) {
            asked.until = asked.until.max(now.plus_s(ANSWER_S));
            self.order.push_back((asker, asked.until));
            self.shed(now);
        }
    }

    /// Does this socket send on its own account, rather than ask?
    pub fn goes_on(&self, segment: Segment, ip: IpAddr, port: u16, packets: u64) -> bool {
        let asked = self.asked.get(&(ip, port, segment));
        asked.is_none_or(|asked| !asked.answered) && packets.max(asked.map_or(0, |asked| asked.flows)) >= SENDS
    }

    /// This asker was answered: the group it had asked.
    pub fn answered(&mut self, segment: Segment, ip: IpAddr, port: u16) -> Option<IpAddr> {
        let asked = self.asked.get_mut(&(ip, port, segment))?;
        asked.answered = true;
        Some(asked.group)
    }

    /// Is a datagram from `port` to this asker an answer?
    pub fn reply(&self, segment: Segment, ip: IpAddr, asking_port: u16, port: u16, now: Timestamp) -> Option<Reply> {
        let asked = self.asked.get(&(ip, asking_port, segment))?;
        match asked.until >= now {
            true if asked.port == port => Some(Reply::Serves),
            true => Some(Reply::Stray),
            false => None,
        }
    }

    pub fn expire(&mut self, now: Timestamp) {
        while self.order.front().is_some_and(|(_, until)| *until < now) {
            self.drop_oldest();
        }
    }

    fn shed(&mut self, now: Timestamp) {
        self.expire(now);
        while self.order.len() > QUERIES_MAX {
            self.counters.forgotten += 1;
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((asker, until)) = self.order.pop_front()
            && self.asked.get(&asker).is_some_and(|asked| asked.until == until)
        {
            self.asked.remove(&asker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Segment = Segment::UNTAGGED;
    const GROUP: (IpAddr, u16) = (IpAddr::V4(std::net::Ipv4Addr::new(239, 255, 255, 250)), 1900);

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn reply(queries: &GroupQueries, port: u16, at_s: u64) -> Option<Reply> {
        queries.reply(HERE, ip(1), 40_000, port, Timestamp::from_parts(at_s, 0))
    }

    #[test]
    fn an_answer_from_the_asked_port_serves_and_any_other_is_stray() {
        let mut queries = GroupQueries::default();
        queries.asked(HERE, (ip(1), 40_000), GROUP, Timestamp::from_parts(1, 0));
        assert_eq!(reply(&queries, 1900, 3), Some(Reply::Serves));
        assert_eq!(reply(&queries, 50_000, 3), Some(Reply::Stray));
        assert_eq!(queries.reply(HERE, ip(2), 40_000, 1900, Timestamp::from_parts(3, 0)), None);
    }

    #[test]
    fn who_goes_on_unanswered_sends_and_who_is_answered_asks() {
        let mut queries = GroupQueries::default();
        for second in 1..SENDS {
            queries.asked(HERE, (ip(1), 40_000), GROUP, Timestamp::from_parts(second * 30, 0));
        }
        assert!(!queries.goes_on(HERE, ip(1), 40_000, SENDS - 1) && queries.goes_on(HERE, ip(1), 40_000, SENDS));
        for second in SENDS..=SENDS + 1 {
            queries.asked(HERE, (ip(1), 40_000), GROUP, Timestamp::from_parts(second * 30, 0));
        }
        assert!(queries.goes_on(HERE, ip(1), 40_000, 1));
        assert_eq!(queries.answered(HERE, ip(1), 40_000), Some(GROUP.0));
        assert!(!queries.goes_on(HERE, ip(1), 40_000, 1_000));
    }

    #[test]
    fn long_after_the_query_it_is_no_answer() {
        let mut queries = GroupQueries::default();
        queries.asked(HERE, (ip(1), 40_000), GROUP, Timestamp::from_parts(1, 0));
        assert_eq!(reply(&queries, 1900, 1 + ANSWER_S as u64 + 1), None);
        queries.expire(Timestamp::from_parts(100, 0));
        assert!(queries.asked.is_empty() && queries.order.is_empty());
    }

    #[test]
    fn a_flood_of_queries_is_bounded() {
        let mut queries = GroupQueries::default();
        for port in 0..=u16::MAX {
            queries.asked(HERE, (ip(1), port), GROUP, Timestamp::from_parts(1, 0));
        }
        assert_eq!((queries.asked.len(), queries.order.len()), (QUERIES_MAX, QUERIES_MAX));
        assert_eq!(queries.counters.forgotten, 65_536 - QUERIES_MAX as u64);
    }
}
