//! Derived identifiers: never random, so that the same input gives the same output.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A fixed 64-bit hash for identifiers and shard choice: each part's length, then its bytes in little-endian words of
/// eight (the last one filled with zeros), each mixed in by MurmurHash3's `fmix64` (Appleby, public domain).
/// Not keyed: never used to place hostile input in a table.
pub fn stable_hash(parts: &[&[u8]]) -> u64 {
    let mut h: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        h = mix(h ^ part.len() as u64);
        let (words, rest) = part.as_chunks::<8>();
        for word in words {
            h = mix(h ^ u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let last = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            h = mix(h ^ last);
        }
    }
    mix(h)
}

fn mix(mut h: u64) -> u64 {
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

macro_rules! derived_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            const MASK: u64 = (1 << 48) - 1;

            /// The id of this first evidence. 48 bits: at 100,000 ids a collision has odds of 2 in 100,000,
            /// and whoever mints ids asks again with another `salt` when one is taken.
            pub fn derive(evidence: &[&[u8]], salt: u64) -> Self {
                let salt = salt.to_be_bytes();
                let mut parts: Vec<&[u8]> = Vec::with_capacity(evidence.len() + 2);
                parts.push($prefix.as_bytes());
                parts.extend_from_slice(evidence);
                parts.push(&salt);
                $name(stable_hash(&parts) & Self::MASK)
            }

            pub fn raw(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{:012x}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                text.strip_prefix($prefix)
                    .filter(|hex| hex.len() == 12)
                    .and_then(|hex| u64::from_str_radix(hex, 16).ok())
                    .map($name)
                    .ok_or_else(|| format!(concat!("`{}` is not an id like ", $prefix, "0123456789ab"), text))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                if s.is_human_readable() { s.collect_str(self) } else { s.serialize_u64(self.0) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                if d.is_human_readable() {
                    String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
                } else {
                    u64::deserialize(d).map(|raw| $name(raw & Self::MASK))
                }
            }
        }
    };
}

derived_id!(
    /// A VM (or physical host), minted once from its first strongest identifier.
    VmId,
    "vm-"
);
derived_id!(
    /// A role: VMs with the same job, minted from the VMs that founded it.
    RoleId,
    "role-"
);
derived_id!(
    /// An incident, minted from the finding that opened it.
    IncidentId,
    "inc-"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_and_read_back() {
        let id = VmId::derive(&[b"mac", &[1, 2, 3]], 0);
        assert_eq!(id, VmId::derive(&[b"mac", &[1, 2, 3]], 0));
        assert_ne!(id, VmId::derive(&[b"mac", &[1, 2, 3]], 1));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("vm-xyz".parse::<VmId>().is_err());
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(stable_hash(&[b"ab", b"c"]), stable_hash(&[b"a", b"bc"]));
    }
}
