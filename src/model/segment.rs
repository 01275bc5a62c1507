//! A segment: the stack of tenant ids (VLAN ids, overlay VNI, GRE key) that the VMs themselves live in, inside
//! the mirror transport. It is part of every flow key.
//!
//! At most [`Segment::DEPTH_MAX`] layers are kept apart; deeper ones are folded into one hashed layer, so that
//! two stacks that differ anywhere still differ, and a key stays small and `Copy`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ids::stable_hash;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum LayerKind {
    #[default]
    None = 0,
    Vlan = 1,
    Vxlan = 2,
    Geneve = 3,
    /// GRE key, NVGRE's (VSID and flow id) included.
    Gre = 4,
    /// 802.1ah service instance (I-SID).
    Pbb = 5,
    /// GTP-U tunnel endpoint id.
    Gtp = 6,
    /// PPPoE session id.
    Pppoe = 7,
    /// L2TP session id.
    L2tp = 8,
    /// Layers beyond the depth limit, folded by hash.
    Deep = 9,
    /// Which of several mirror sources with overlapping addresses: a [`Domain`], always outermost.
    Domain = 10,
}

/// One tenant id of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Layer {
    pub kind: LayerKind,
    pub id: u32,
}

/// A name of one to six characters of `a`–`z`, `0`–`9` and `-`, kept as a number so that a segment stays `Copy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(u32);

/// Written outermost first, `/` between layers, consecutive VLANs joined by `.`:
/// `-`, `vlan:10`, `vlan:100.200`, `vxlan:5001/vlan:10`, `geneve:7`, `gre:0x1f`, `domain:dc1/vlan:10`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialOrd, Ord)]
pub struct Segment {
    ids: [u32; Segment::DEPTH_MAX],
    kinds: [LayerKind; Segment::DEPTH_MAX],
}

/// In words, for it is part of every key: a derived one compares each layer for itself.
impl PartialEq for Segment {
    #[inline]
    fn eq(&self, other: &Segment) -> bool {
        self.ids == other.ids && self.kinds_word() == other.kinds_word()
    }
}

/// In words, for it is part of every key: a derived one feeds each layer for itself.
impl std::hash::Hash for Segment {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let [a, b, c, d] = self.ids.map(u128::from);
        state.write_u128(a | b << 32 | c << 64 | d << 96);
        state.write_u32(self.kinds_word());
    }
}

impl Segment {
    pub const DEPTH_MAX: usize = 4;
    /// No tenant id at all, written `-`.
    pub const UNTAGGED: Segment = Segment { ids: [0; Self::DEPTH_MAX], kinds: [LayerKind::None; Self::DEPTH_MAX] };

    #[inline]
    fn kinds_word(&self) -> u32 {
        u32::from_be_bytes(self.kinds.map(|kind| kind as u8))
    }

    /// This segment with one more layer inside it.
    #[must_use]
    #[inline]
    pub fn with(mut self, kind: LayerKind, id: u32) -> Self {
        let depth = self.depth();
        if let (Some(k), Some(i)) = (self.kinds.get_mut(depth), self.ids.get_mut(depth)) {
            *k = kind;
            *i = id;
        } else if let (Some(k), Some(i)) = (self.kinds.last_mut(), self.ids.last_mut()) {
            let mut bytes = [0u8; 10];
            bytes[0] = *k as u8;
            bytes[1..5].copy_from_slice(&i.to_be_bytes());
            bytes[5] = kind as u8;
            bytes[6..10].copy_from_slice(&id.to_be_bytes());
            *i = stable_hash(&[&bytes]) as u32;
            *k = LayerKind::Deep;
        }
        self
    }

    /// Layers are kept without a gap.
    #[inline]
    pub fn depth(&self) -> usize {
        // The first kind is the word's highest octet.
        Self::DEPTH_MAX - (self.kinds_word().trailing_zeros() as usize / 8).min(Self::DEPTH_MAX)
    }

    pub fn layers(&self) -> impl Iterator<Item = Layer> + '_ {
        self.kinds
            .iter()
            .zip(self.ids.iter())
            .take_while(|(k, _)| **k != LayerKind::None)
            .map(|(&kind, &id)| Layer { kind, id })
    }

    /// The id of the innermost layer that has a place; 0 of none. Most unlike between the segments of one mirror.
    #[inline]
    pub fn innermost(&self) -> u32 {
        self.ids.iter().fold(0, |last, id| if *id == 0 { last } else { *id })
    }

    pub fn is_untagged(&self) -> bool {
        self.depth() == 0
    }

    /// This segment inside a mirror domain.
    #[must_use]
    pub fn in_domain(&self, domain: Domain) -> Self {
        self.layers().fold(Segment::UNTAGGED.with(LayerKind::Domain, domain.0), |s, layer| s.with(layer.kind, layer.id))
    }

    /// The VLAN ids, outermost first, as EVE's `vlan` lists them.
    pub fn vlans(&self) -> Vec<u32> {
        self.layers().filter(|l| l.kind == LayerKind::Vlan).map(|l| l.id).collect()
    }
}

impl LayerKind {
    const NAMED: [(LayerKind, &'static str); 10] = [
        (LayerKind::Vlan, "vlan"),
        (LayerKind::Vxlan, "vxlan"),
        (LayerKind::Geneve, "geneve"),
        (LayerKind::Gre, "gre"),
        (LayerKind::Pbb, "pbb"),
        (LayerKind::Gtp, "gtp"),
        (LayerKind::Pppoe, "pppoe"),
        (LayerKind::L2tp, "l2tp"),
        (LayerKind::Deep, "deep"),
        (LayerKind::Domain, "domain"),
    ];

    pub fn name(self) -> &'static str {
        Self::NAMED.iter().find(|(k, _)| *k == self).map_or("none", |(_, n)| n)
    }

    fn hexadecimal(self) -> bool {
        matches!(self, LayerKind::Gre | LayerKind::Gtp | LayerKind::Deep)
    }
}

impl Domain {
    /// Digits of the number, 1 and up, so that no name is a part of another.
    const CHARACTERS: &'static [u8] = b"abcdefghijklmnopqrstuvwxyz0123456789-";
    const BASE: u32 = Self::CHARACTERS.len() as u32 + 1;
    const LEN_MAX: usize = 6;
}

impl FromStr for Domain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digit = |byte: u8| Self::CHARACTERS.iter().position(|c| *c == byte).map(|at| at as u32 + 1);
        let number =
            text.bytes().try_fold(0u32, |n, byte| digit(byte).and_then(|d| n.checked_mul(Self::BASE)?.checked_add(d)));
        match number {
            Some(number) if (1..=Self::LEN_MAX).contains(&text.len()) => Ok(Domain(number)),
            _ => Err(format!("`{text}` is not a name of at most {} of a-z, 0-9 and -", Self::LEN_MAX)),
        }
    }
}

impl TryFrom<String> for Domain {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Domain> for String {
    fn from(domain: Domain) -> String {
        domain.to_string()
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = (0..Self::LEN_MAX as u32).rev().map(|power| self.0 / Self::BASE.pow(power) % Self::BASE);
        let characters = places.filter_map(|digit| Self::CHARACTERS.get((digit as usize).checked_sub(1)?));
        characters.into_iter().try_for_each(|c| write!(f, "{}", char::from(*c)))
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_untagged() {
            return f.write_str("-");
        }
        let mut before = LayerKind::None;
        for layer in self.layers() {
            if layer.kind == LayerKind::Vlan && before == LayerKind::Vlan {
                write!(f, ".{}", layer.id)?;
            } else {
                if before != LayerKind::None {
                    f.write_str("/")?;
                }
                match layer.kind.hexadecimal() {
                    _ if layer.kind == LayerKind::Domain => write!(f, "domain:{}", Domain(layer.id))?,
                    true => write!(f, "{}:{:#x}", layer.kind.name(), layer.id)?,
                    false => write!(f, "{}:{}", layer.kind.name(), layer.id)?,
                }
            }
            before = layer.kind;
        }
        Ok(())
    }
}

impl FromStr for Segment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a segment like `-`, `vlan:10`, `vlan:100.200` or `vxlan:5001/vlan:10`");
        if text == "-" {
            return Ok(Segment::UNTAGGED);
        }
        let mut segment = Segment::UNTAGGED;
        for part in text.split('/') {
            let (name, ids) = part.split_once(':').ok_or_else(bad)?;
            let (kind, _) = *LayerKind::NAMED.iter().find(|(_, n)| *n == name).ok_or_else(bad)?;
            for id in ids.split('.') {
                let value = match id.strip_prefix("0x") {
                    _ if kind == LayerKind::Domain => Some(id.parse::<Domain>()?.0),
                    Some(hex) => u32::from_str_radix(hex, 16).ok(),
                    None => id.parse().ok(),
                };
                if segment.depth() == Segment::DEPTH_MAX {
                    return Err(bad());
                }
                segment = segment.with(kind, value.ok_or_else(bad)?);
            }
        }
        Ok(segment)
    }
}

impl Serialize for Segment {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Segment {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_form_is_the_contracts() {
        let plain = Segment::UNTAGGED;
        assert_eq!(plain.to_string(), "-");
        assert_eq!(plain.with(LayerKind::Vlan, 100).with(LayerKind::Vlan, 200).to_string(), "vlan:100.200");
        assert_eq!(plain.with(LayerKind::Vxlan, 5001).with(LayerKind::Vlan, 10).to_string(), "vxlan:5001/vlan:10");
        assert_eq!(plain.with(LayerKind::Gre, 0x1f).to_string(), "gre:0x1f");
    }

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["-", "vlan:10", "vlan:100.200", "vxlan:5001/vlan:10", "geneve:7", "gre:0x1f", "domain:dc-1/vlan:7"]
        {
            assert_eq!(text.parse::<Segment>().map(|s| s.to_string()), Ok(text.to_owned()));
        }
        assert!("vlan:x".parse::<Segment>().is_err());
    }

    #[test]
    fn a_domain_is_its_name_and_nothing_longer() {
        let domain = |text: &str| text.parse::<Domain>();
        for text in ["a", "dc1", "aa", "------", "999999"] {
            assert_eq!(domain(text).map(String::from), Ok(text.to_owned()));
        }
        assert_ne!(domain("a"), domain("aa"));
        for text in ["", "DC1", "dc_1", "abcdefg", "-------"] {
            assert!(domain(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_domain_keeps_equal_segments_apart() {
        let vlan = Segment::UNTAGGED.with(LayerKind::Vlan, 10);
        let [one, two] = ["dc1", "dc2"].map(|name| vlan.in_domain(name.parse().unwrap()));
        assert_ne!(one, two);
        assert_eq!(one.to_string(), "domain:dc1/vlan:10");
    }

    #[test]
    fn stacks_deeper_than_the_limit_still_differ() {
        let deep =
            |last| (0..6).fold(Segment::UNTAGGED, |s, id| s.with(LayerKind::Vlan, id)).with(LayerKind::Vlan, last);
        assert_ne!(deep(7), deep(8));
        assert_eq!(deep(7), deep(7));
    }
}
