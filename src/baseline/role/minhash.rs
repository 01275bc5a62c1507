//! MinHash: who may be alike, found without comparing everyone with everyone (Broder 1997). A signature of
//! [`HASHES`] minima in [`BANDS`] bands; two sets whose Jaccard index is 0.6 share a band in 89 of 100 cases, and are
//! then compared exactly. The seeds are part of the format: a token's hash never changes.

use std::collections::BTreeMap;

use super::token::{Token, Tokens};
use crate::model::{Transport, VmId, stable_hash};

const HASHES: usize = 64;
const BANDS: usize = 16;
const ROWS: usize = HASHES / BANDS;
/// Members of one bucket that are looked at: a thousand equal desktops need no more to find a role.
const BUCKET_MAX: usize = 16;

/// The bands of a signature, each folded into one number.
pub(super) type Bands = [u64; BANDS];

pub(super) fn bands(tokens: &Tokens) -> Bands {
    let mut minima = [u64::MAX; HASHES];
    for (token, weight) in tokens {
        for copy in 0..u64::from(*weight) {
            let hash = mix(hash(token), copy);
            for (seed, minimum) in (1u64..).zip(minima.iter_mut()) {
                *minimum = (*minimum).min(mix(hash, seed.wrapping_mul(0xa076_1d64_78bd_642f)));
            }
        }
    }
    let mut out = [0; BANDS];
    for (band, rows) in out.iter_mut().zip(minima.chunks(ROWS)) {
        *band = rows.iter().fold(0, |folded, minimum| mix(folded, *minimum));
    }
    out
}

/// Buckets by band: whoever shares one is a candidate.
#[derive(Clone, Debug, Default)]
pub(super) struct Buckets {
    by_band: BTreeMap<(u8, u64), Vec<VmId>>,
}

impl Buckets {
    pub fn add(&mut self, vm: VmId, bands: &Bands) {
        for (band, value) in (0u8..).zip(bands) {
            let bucket = self.by_band.entry((band, *value)).or_default();
            if bucket.len() < BUCKET_MAX {
                bucket.push(vm);
            }
        }
    }

    /// Candidates in order of id, each once.
    pub fn near(&self, bands: &Bands) -> Vec<VmId> {
        let buckets = (0u8..).zip(bands).filter_map(|(band, value)| self.by_band.get(&(band, *value)));
        let mut near: Vec<VmId> = buckets.flatten().copied().collect();
        near.sort_unstable();
        near.dedup();
        near
    }
}

fn hash(token: &Token) -> u64 {
    let port = |kind: &[u8], transport: &Transport, port: u16| {
        stable_hash(&[kind, transport.to_string().as_bytes(), &port.to_be_bytes()])
    };
    match token {
        Token::Serves(t, p) => port(b"serves", t, *p),
        Token::Uses(t, p) => port(b"uses", t, *p),
        Token::Stem(text) => stable_hash(&[b"stem", text.as_bytes()]),
        Token::Tag(text) => stable_hash(&[b"tag", text.as_bytes()]),
    }
}

/// Multiply and fold 128 bits into 64: one cheap permutation a seed.
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b ^ 0xd6e8_feb8_6659_fd93);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ports: std::ops::Range<u16>) -> Tokens {
        ports.map(|port| (Token::Serves(Transport::Tcp, port), 1)).collect()
    }

    fn vm(n: u8) -> VmId {
        VmId::derive(&[&[n]], 0)
    }

    #[test]
    fn the_alike_meet_and_strangers_do_not() {
        let mut buckets = Buckets::default();
        buckets.add(vm(1), &bands(&set(1..21)));
        buckets.add(vm(2), &bands(&set(500..520)));
        assert_eq!(buckets.near(&bands(&set(1..22))), [vm(1)]);
        assert!(buckets.near(&bands(&set(1_000..1_020))).is_empty());
    }

    #[test]
    fn the_share_of_equal_minima_estimates_jaccard() {
        // 40 pairs of J = 0.6: nearly all of them must share a band.
        let met = (0..40u16).filter(|i| {
            let (a, b) = (set(i * 100..i * 100 + 16), set(i * 100 + 4..i * 100 + 20));
            bands(&a).iter().zip(&bands(&b)).any(|(x, y)| x == y)
        });
        assert!(met.count() >= 30);
    }
}
