//! `[[mirror]]`: what the operator says of the mirror's own transport, so that only what the VMs live in is segment.
//!
//! At most [`MIRRORS_MAX`] tables, for one bit each says which of them a frame met; more are refused when the
//! configuration is read. The first table that says something of a layer decides it.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::link::Stack;
use crate::model::{Domain, LayerKind, MirrorPath, NetSet, PathKind, Segment};

/// Tables that are acted on.
pub const MIRRORS_MAX: usize = 64;

/// One `[[mirror]]` table. What it does not name it leaves to the tables after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MirrorConfig {
    /// Only this mirror source: an interface or a file, `*` and `?` as in a shell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Only frames in a tunnel from these networks.
    #[serde(skip_serializing_if = "no_nets", deserialize_with = "nets")]
    pub outer_src: NetSet,
    /// Only frames in a tunnel to these networks.
    #[serde(skip_serializing_if = "no_nets", deserialize_with = "nets")]
    pub outer_dst: NetSet,
    /// What VXLAN and GENEVE network identifiers are.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "of_no_flow")]
    pub vni: Option<Meaning>,
    /// What GRE keys are; `vsid` where they are NVGRE's, whose last octet differs from flow to flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gre_key: Option<Meaning>,
    /// What the outermost VLAN tag is: a list names the RSPAN VLANs.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "of_no_flow")]
    pub vlan: Option<Meaning>,
    /// Groups of VLAN ids that are one segment; 0 is "untagged". Written as the first that is not 0.
    #[serde(skip_serializing_if = "SameVlan::is_empty")]
    pub same_vlan: SameVlan,
    /// Where addresses overlap between sources: the name that keeps theirs apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<Domain>,
}

/// What an identifier of a tunnel or a tag is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// How the copy came here.
    Path,
    /// Where the VMs live.
    Segment,
    /// NVGRE (RFC 7637 3.2): the upper 24 bits are the segment, the last octet is a flow's.
    Vsid,
}

/// What the identifiers of one kind are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Meaning {
    All(Part),
    /// These are path, any other is left to the tables after it.
    Path(Vec<u32>),
}

/// Each group has at least two ids, at least one of them a VLAN's, and none stands in two groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Vec<u16>>")]
pub struct SameVlan(Vec<Vec<u16>>);

impl SameVlan {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The id under which `id` is written, where a group has it.
    fn written(&self, id: u32) -> Option<u32> {
        let group = self.0.iter().find(|group| group.iter().any(|member| u32::from(*member) == id))?;
        group.iter().find(|member| **member != 0).map(|member| u32::from(*member))
    }
}

impl TryFrom<Vec<Vec<u16>>> for SameVlan {
    type Error = String;

    fn try_from(groups: Vec<Vec<u16>>) -> Result<Self, String> {
        let mut seen = std::collections::BTreeSet::new();
        for group in &groups {
            if group.len() < 2 || group.iter().all(|id| *id == 0) {
                return Err(format!("{group:?} is not a group like [0, 10]: two or more VLAN ids, 0 for untagged"));
            }
            for id in group {
                if *id > VLAN_MAX {
                    return Err(format!("{id} is not a VLAN id: they end at {VLAN_MAX}"));
                }
                if !seen.insert(*id) {
                    return Err(format!("{id} stands twice: put all ids of one segment into one group"));
                }
            }
        }
        Ok(SameVlan(groups))
    }
}

/// 4095 is reserved (802.1Q table 9-2).
const VLAN_MAX: u16 = 4094;

/// The tables, and which of them hold for the mirror source that frames come from now.
#[derive(Debug, Default)]
pub(super) struct Mirrors {
    tables: Vec<MirrorConfig>,
    here: Here,
    /// By number of the source, so that names are compared once.
    sources: Vec<Option<Here>>,
}

/// A bit for each table that holds for one source.
#[derive(Clone, Copy, Debug, Default)]
struct Here {
    all: u64,
    /// Those that ask for no tunnel.
    open: u64,
    /// Those that change a segment when all is peeled.
    finishing: u64,
}

impl Mirrors {
    pub fn new(tables: Vec<MirrorConfig>) -> Self {
        let mut mirrors = Mirrors { tables, ..Mirrors::default() };
        mirrors.here = mirrors.of("");
        mirrors
    }

    /// Frames come from this source from now on.
    pub fn arrive(&mut self, number: u16, name: &str) {
        let at = usize::from(number);
        if self.sources.len() <= at {
            self.sources.resize(at + 1, None);
        }
        let here = self.sources.get(at).copied().flatten().unwrap_or_else(|| self.of(name));
        if let Some(known) = self.sources.get_mut(at) {
            *known = Some(here);
        }
        self.here = here;
    }

    fn of(&self, source: &str) -> Here {
        let mut here = Here::default();
        for (bit, table) in self.those(u64::MAX) {
            if table.source.as_ref().is_some_and(|pattern| !matches(pattern.as_bytes(), source.as_bytes())) {
                continue;
            }
            here.all |= bit;
            if no_nets(&table.outer_src) && no_nets(&table.outer_dst) {
                here.open |= bit;
            }
            if table.vlan.is_some() || !table.same_vlan.is_empty() || table.domain.is_some() {
                here.finishing |= bit;
            }
        }
        here
    }

    /// Passes into a tunnel from `src` to `dst`: what its identifier is, where a table says so.
    #[inline]
    pub fn tunnel(&self, src: IpAddr, dst: IpAddr, layer: (LayerKind, u32), stack: &mut Stack) -> Option<Part> {
        if self.here.all == 0 { None } else { self.said(src, dst, layer, stack) }
    }

    fn said(&self, src: IpAddr, dst: IpAddr, layer: (LayerKind, u32), stack: &mut Stack) -> Option<Part> {
        let within = |nets: &NetSet, ip| no_nets(nets) || nets.contains(ip);
        let mut met = self.here.open;
        for (bit, table) in self.those(self.here.all & !self.here.open) {
            if within(&table.outer_src, src) && within(&table.outer_dst, dst) {
                met |= bit;
            }
        }
        stack.mirrors |= met;
        let (kind, id) = layer;
        // What is said of this tunnel is not said of one within it.
        self.those(met).find_map(|(_, table)| {
            let meaning = match kind {
                LayerKind::Vxlan | LayerKind::Geneve => table.vni.as_ref(),
                LayerKind::Gre => table.gre_key.as_ref(),
                _ => None,
            };
            meaning.and_then(|meaning| meaning.of(id))
        })
    }

    /// Does a table say something of the whole stack?
    #[inline(always)]
    pub fn finishes(&self) -> bool {
        self.here.finishing != 0
    }

    /// Takes the RSPAN tag off, writes VLANs that are one segment as one, and puts the domain around all.
    #[cold]
    pub fn finish(&self, stack: &mut Stack) {
        let met = stack.mirrors;
        let said = || self.those(self.here.finishing & (self.here.open | met)).map(|(_, table)| table);
        let mut layers = stack.segment.layers().peekable();
        let mut path = None;
        if let Some(outer) = layers.next_if(|layer| {
            layer.kind == LayerKind::Vlan
                && said().find_map(|table| table.vlan.as_ref()?.of(layer.id)) == Some(Part::Path)
        }) {
            path = Some(MirrorPath::new(PathKind::Vlan, outer.id));
        }
        let same = |id| said().find_map(|table| table.same_vlan.written(id));
        let (mut segment, mut tagged) = (Segment::UNTAGGED, false);
        for layer in layers {
            tagged = layer.kind == LayerKind::Vlan;
            let id = if tagged { same(layer.id).unwrap_or(layer.id) } else { layer.id };
            segment = segment.with(layer.kind, id);
        }
        if !tagged && let Some(id) = same(0) {
            segment = segment.with(LayerKind::Vlan, id);
        }
        if let Some(domain) = said().find_map(|table| table.domain) {
            segment = segment.in_domain(domain);
        }
        stack.segment = segment;
        if let Some(path) = path {
            if !tagged {
                stack.pcp = 0; // the RSPAN tag's
            }
            stack.came_by(path);
        }
    }

    fn those(&self, bits: u64) -> impl Iterator<Item = (u64, &MirrorConfig)> {
        self.tables
            .iter()
            .take(MIRRORS_MAX)
            .enumerate()
            .map(|(at, table)| (1 << at, table))
            .filter(move |(bit, _)| bits & bit != 0)
    }
}

impl Meaning {
    /// What `id` is part of, where this says so.
    fn of(&self, id: u32) -> Option<Part> {
        match self {
            Meaning::All(part) => Some(*part),
            Meaning::Path(ids) => ids.contains(&id).then_some(Part::Path),
        }
    }
}

/// `*` stands for any run of characters, `?` for one.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => {
            matches(rest, text) || text.split_first().is_some_and(|(_, text)| matches(pattern, text))
        }
        ([b'?', pattern @ ..], [_, text @ ..]) => matches(pattern, text),
        ([p, pattern @ ..], [t, text @ ..]) if p == t => matches(pattern, text),
        _ => false,
    }
}

fn no_nets(nets: &NetSet) -> bool {
    nets.0.is_empty()
}

/// One network or a list; an address is a network of its own.
fn nets<'de, D: Deserializer<'de>>(d: D) -> Result<NetSet, D::Error> {
    struct Nets;
    impl<'de> Visitor<'de> for Nets {
        type Value = Vec<IpNet>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a network like 10.0.0.0/8, or a list of them")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
            net.map(|net| vec![net])
                .ok_or_else(|| E::custom(format!("`{text}` is not a network like 10.0.0.0/8 or fd00::/8")))
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut nets = Vec::new();
            while let Some(text) = list.next_element::<String>()? {
                nets.extend(Nets.visit_str::<A::Error>(&text)?);
            }
            Ok(nets)
        }
    }
    d.deserialize_any(Nets).map(NetSet)
}

/// For identifiers that have no part of a flow's.
fn of_no_flow<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Meaning>, D::Error> {
    match Meaning::deserialize(d)? {
        Meaning::All(Part::Vsid) => Err(de::Error::unknown_variant("vsid", &["path", "segment"])),
        meaning => Ok(Some(meaning)),
    }
}

impl<'de> Deserialize<'de> for Meaning {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Word;
        impl<'de> Visitor<'de> for Word {
            type Value = Meaning;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"path\", \"segment\", or the list of ids that are path")
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<Meaning, E> {
                match word {
                    "path" => Ok(Meaning::All(Part::Path)),
                    "segment" => Ok(Meaning::All(Part::Segment)),
                    "vsid" => Ok(Meaning::All(Part::Vsid)),
                    other => Err(E::unknown_variant(other, &["path", "segment", "vsid"])),
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Meaning, A::Error> {
                let mut ids = Vec::new();
                while let Some(id) = list.next_element()? {
                    ids.push(id);
                }
                Ok(Meaning::Path(ids))
            }
        }
        d.deserialize_any(Word)
    }
}
