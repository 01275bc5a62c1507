//! Adverts of LLDP and CDP: told when they say something new, and again after [`REPEAT_S`] of packet time.
//!
//! At most [`REMEMBERED`] senders a shard are held back that way, in a table where a newer one displaces an older: at
//! the bound adverts repeat, none is lost.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;

use super::Head;
use crate::counters;
use crate::decode::{Advert, StationId};
use crate::model::{AppInfo, LinkAdvert, Location, Timestamp};

/// They come every 30 s (LLDP) or 60 s (CDP).
const REPEAT_S: i64 = 300;
/// Slots; a power of two. All adverts of a segment come to one shard: the uplinks of a large host, and more.
const REMEMBERED: usize = 128;

counters! {
    pub struct AdvertCounters {
        told => "advert.told",
        repeated => "advert.repeated",
        /// Sender MAC that can name no interface.
        bad_mac => "advert.discard.mac",
    }
}

/// The adverts told lately.
pub struct Adverts {
    hasher: FixedState,
    /// Whose, what, and when. Empty until the first: most shards hear none.
    told: Vec<(u64, u64, Timestamp)>,
    pub counters: AdvertCounters,
}

impl Adverts {
    pub fn new() -> Self {
        // The seed is fixed: which adverts displace each other is visible in the output.
        Adverts { hasher: FixedState::with_seed(0x6561_7374), told: Vec::new(), counters: AdvertCounters::default() }
    }

    /// What an advert says, unless it was told lately.
    pub fn hear(&mut self, head: &Head, advert: &Advert<'_>) -> Option<LinkAdvert> {
        let Some(mac) = head.src_mac.filter(|mac| mac.is_unicast()) else {
            self.counters.bad_mac += 1;
            return None;
        };
        let location = Location::of(head.host_hint, head.path);
        let whose = self.hash((head.segment, mac, advert.by));
        let said = LinkAdvert {
            by: advert.by,
            segment: head.segment,
            mac,
            location,
            system: AppInfo::clean(advert.system),
            chassis: text(advert.chassis),
            port: text(advert.port),
            port_description: AppInfo::clean(advert.port_description),
            address: advert.address,
            goodbye: advert.goodbye,
        };
        let what = self.hash((
            (&said.system, &said.chassis, &said.port, &said.port_description),
            (said.address, said.goodbye, location),
        ));
        if self.told.is_empty() {
            self.told = vec![(0, 0, Timestamp::ZERO); REMEMBERED];
        }
        let place = self.told.get_mut(whose as usize % REMEMBERED)?;
        if (place.0, place.1) == (whose, what) && head.time < place.2.plus_s(REPEAT_S) {
            self.counters.repeated += 1;
            return None;
        }
        *place = (whose, what, head.time);
        self.counters.told += 1;
        Some(said)
    }

    fn hash(&self, value: impl Hash) -> u64 {
        self.hasher.hash_one(value)
    }
}

impl Default for Adverts {
    fn default() -> Self {
        Adverts::new()
    }
}

fn text(id: StationId<'_>) -> String {
    match id {
        StationId::Mac(mac) => mac.to_string(),
        StationId::Address(ip) => ip.to_string(),
        StationId::Text(text) => AppInfo::clean(text),
    }
}

#[cfg(test)]
mod tests {
    use super::super::packets::head;
    use super::*;
    use crate::model::{AdvertBy, Mac};

    fn advert(system: &[u8]) -> Advert<'_> {
        Advert {
            by: AdvertBy::Lldp,
            chassis: StationId::Mac(Mac([2, 0, 0, 0, 0, 7])),
            port: StationId::Text(b"vmnic2"),
            port_description: b"",
            system,
            address: None,
            goodbye: false,
        }
    }

    #[test]
    fn an_equal_advert_is_told_again_only_after_five_minutes_and_another_at_once() {
        let mut adverts = Adverts::new();
        let mut hear = |s: u64, system: &[u8]| adverts.hear(&head(s, s * 1000, true), &advert(system)).is_some();
        assert_eq!([0, 30, 299, 300].map(|s| hear(s, b"esx-07")), [true, false, false, true]);
        assert!(hear(301, b"esx-08"));
        assert_eq!((adverts.counters.told, adverts.counters.repeated), (3, 2));
    }

    #[test]
    fn what_would_steer_a_terminal_is_escaped_and_long_text_is_cut() {
        let mut adverts = Adverts::new();
        let hostile = [b"\x1b[2J\xff".as_slice(), "\u{202e}".as_bytes(), &[b'a'; 500]].concat();
        let said = adverts.hear(&head(1, 0, true), &advert(&hostile)).unwrap();
        assert!(said.system.starts_with("\\u{1b}[2J\\xff\\u{202e}aaa"), "{}", said.system);
        assert!(said.system.len() <= 256);
        assert_eq!((said.chassis.as_str(), said.port.as_str()), ("02:00:00:00:00:07", "vmnic2"));
    }

    #[test]
    fn a_sender_that_is_a_group_says_nothing() {
        let mut adverts = Adverts::new();
        let mut from = head(1, 0, true);
        from.src_mac = Some(Mac::BROADCAST);
        assert_eq!(adverts.hear(&from, &advert(b"esx-07")), None);
        assert_eq!(adverts.counters.bad_mac, 1);
    }
}
