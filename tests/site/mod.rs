//! A simulator of sites: virtual machines with roles, what they do all day, and what is done to them. One format of
//! events (`event.rs`) and of truth (`truth.rs`); two renderers: observations for the fact side (`observe.rs`, months
//! of packet time in minutes) and packets (`packets.rs`, a day of a small site).
//!
//! Seeded: the same size and seed give the same events. Bound: what is held is the site, and the events of some
//! minutes that overlap; a run is as long as its caller asks.

pub mod behaviour;
pub mod event;
pub mod experiment;
pub mod figures;
pub mod ledger;
pub mod observe;
pub mod packets;
pub mod payloads;
pub mod run;
pub mod sizes;
pub mod topology;
pub mod truth;
pub mod world;

use eastwatch::model::Timestamp;

/// Microseconds since the scenario began.
pub type Micros = i64;

pub const SECOND: Micros = 1_000_000;
pub const MINUTE: Micros = 60 * SECOND;
pub const HOUR: Micros = 60 * MINUTE;
pub const DAY: Micros = 24 * HOUR;

/// 2026-01-05T00:00:00Z, a Monday: weekdays are told by whole days since then.
pub const START_S: u64 = 1_767_571_200;

/// Packet time of a moment of the scenario.
pub fn packet_time(at: Micros) -> Timestamp {
    Timestamp::from_parts(START_S, 0).plus_s(at.div_euclid(SECOND)).plus_us(at.rem_euclid(SECOND))
}

trait PlusMicros {
    fn plus_us(self, us: Micros) -> Self;
}

impl PlusMicros for Timestamp {
    fn plus_us(self, us: Micros) -> Self {
        Timestamp::from_ns(self.ns() + us * 1_000)
    }
}

/// The moment of the scenario that a packet time is.
pub fn moment(time: Timestamp) -> Micros {
    time.since_ns(Timestamp::from_parts(START_S, 0)) / 1_000
}

/// SplitMix64: small, seedable, and good enough for habits.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Another stream for every pair.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ stream.wrapping_mul(0xd1b5_4a32_d192_ed03));
        rng.next();
        rng
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound` (1 at least).
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// From `from` to below `to`.
    pub fn between(&mut self, from: i64, to: i64) -> i64 {
        from + (self.next() % (to - from).max(1) as u64) as i64
    }

    /// In 0..1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// With this chance.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }
}
