//! How many distinct clients a service had: exact up to [`EXACT_MAX`], then a HyperLogLog estimate.
//!
//! Bounded: at most 256 bytes. At the bound it becomes an estimate with a standard error of 6.5 %
//! (1.04/√256; Flajolet, Fusy, Gandouet, Meunier 2007), which never falls.

use serde::{Deserialize, Serialize};

/// Most services of a data centre have fewer clients than this; 32 hashes cost what the estimate's registers do.
const EXACT_MAX: usize = 32;
const REGISTERS: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Clients {
    /// Sorted hashes; written as they are, because as numbers of variable length they would take two bytes more.
    Exact(#[serde(with = "as_bytes")] Vec<u64>),
    Estimate(Vec<u8>),
}

mod as_bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(hashes: &[u64], s: S) -> Result<S::Ok, S::Error> {
        hashes.iter().map(|hash| hash.to_be_bytes()).collect::<Vec<_>>().serialize(s)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u64>, D::Error> {
        Ok(Vec::<[u8; 8]>::deserialize(d)?.into_iter().map(u64::from_be_bytes).collect())
    }
}

impl Default for Clients {
    fn default() -> Self {
        Clients::Exact(Vec::new())
    }
}

impl Clients {
    /// Adds one client by a well-mixed 64-bit hash of what it is.
    pub fn add(&mut self, client: u64) {
        match self {
            Clients::Exact(hashes) => {
                if let Err(at) = hashes.binary_search(&client) {
                    hashes.insert(at, client);
                    if hashes.len() > EXACT_MAX {
                        let mut registers = vec![0; REGISTERS];
                        hashes.iter().for_each(|hash| raise(&mut registers, *hash));
                        *self = Clients::Estimate(registers);
                    }
                }
            }
            Clients::Estimate(registers) => raise(registers, client),
        }
    }

    pub fn count(&self) -> u64 {
        match self {
            Clients::Exact(hashes) => hashes.len() as u64,
            Clients::Estimate(registers) => estimate(registers),
        }
    }

    /// Adds all clients of another.
    pub fn unite(&mut self, other: &Clients) {
        match other {
            Clients::Exact(hashes) => hashes.iter().for_each(|hash| self.add(*hash)),
            Clients::Estimate(theirs) => {
                let mut registers = theirs.clone();
                match self {
                    Clients::Exact(hashes) => hashes.iter().for_each(|hash| raise(&mut registers, *hash)),
                    Clients::Estimate(ours) => {
                        registers.iter_mut().zip(ours.iter()).for_each(|(mine, our)| *mine = (*mine).max(*our));
                    }
                }
                *self = Clients::Estimate(registers);
            }
        }
    }
}

fn raise(registers: &mut [u8], hash: u64) {
    let rank = ((hash >> 8).leading_zeros() - 8 + 1) as u8;
    if let Some(register) = registers.get_mut((hash & 0xff) as usize) {
        *register = (*register).max(rank);
    }
}

fn estimate(registers: &[u8]) -> u64 {
    let m = REGISTERS as f64;
    let sum: f64 = registers.iter().map(|rank| 0.5f64.powi(i32::from(*rank))).sum();
    let raw = 0.7213 / (1.0 + 1.079 / m) * m * m / sum;
    let empty = registers.iter().filter(|rank| **rank == 0).count() as f64;
    // Linear counting is the better estimate while registers are empty (same paper, section 4).
    let count = if raw <= 2.5 * m && empty > 0.0 { m * (m / empty).ln() } else { raw };
    (count.round() as u64).max(EXACT_MAX as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::stable_hash;

    fn clients(numbers: std::ops::Range<u64>) -> Clients {
        let mut clients = Clients::default();
        for number in numbers {
            clients.add(stable_hash(&[&number.to_be_bytes()]));
        }
        clients
    }

    #[test]
    fn few_clients_are_counted_exactly_and_once() {
        let mut few = clients(0..20);
        few.unite(&clients(10..30));
        assert_eq!(few.count(), 30);
    }

    #[test]
    fn many_clients_are_estimated_within_a_fifth() {
        for n in [100u64, 1_000, 100_000] {
            let count = clients(0..n).count();
            assert!(count.abs_diff(n) * 5 < n, "{n}: {count}");
        }
    }

    #[test]
    fn a_union_counts_both_whatever_their_forms() {
        let (mut a, b) = (clients(0..1_000), clients(500..1_500));
        a.unite(&b);
        assert_eq!(a, clients(0..1_500));
        let mut c = clients(0..10);
        c.unite(&clients(0..1_000));
        assert_eq!(c, clients(0..1_000));
    }

    #[test]
    fn size_is_bounded() {
        assert!(postcard::to_stdvec(&clients(0..100_000)).unwrap().len() <= 260);
    }
}
