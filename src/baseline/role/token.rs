//! What tells a VM's job: the services it offers, those it uses, the stem of its name, its tags, each with a weight.
//! At most [`TOKENS_MAX`] tokens of a VM, the heaviest first in the order of the type; what is beyond says no more.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::baseline::profile::{Port, Profile};
use crate::model::Transport;

pub(super) const TOKENS_MAX: usize = 64;
/// What a VM offers is its job; what it uses is shared by many jobs; a name is a word of whoever gave it.
const SERVES: u16 = 4;
const USES: u16 = 1;
pub(super) const EVERYWHERE_WEIGHT: u16 = USES;
const STEM: u16 = 3;
const TAG: u16 = 2;
const TAGS_MAX: usize = 8;
/// What more than this share of all servers offer (an agent, an exporter, sshd) tells no job from another. Of fewer
/// servers than this nothing is said to be common.
const EVERYWHERE: f64 = 0.4;
const SERVERS_MIN: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Token {
    Serves(Transport, u16),
    Stem(String),
    Tag(String),
    Uses(Transport, u16),
}

/// Tokens and their weights.
pub type Tokens = BTreeMap<Token, u16>;

/// Of a profile, and of what people call the VM. Ports of its own ephemeral range say nothing about its job.
pub(super) fn tokens(profile: &Profile, name: Option<&str>, tags: &[String], everywhere: &BTreeSet<Port>) -> Tokens {
    let stem = name.and_then(stem).map(Token::Stem);
    let tags = tags.iter().take(TAGS_MAX).cloned().map(Token::Tag);
    let serves = profile.firm_services().map(|(t, p)| Token::Serves(t, p));
    let uses = profile.uses().map(|(t, p)| Token::Uses(t, p));
    let all = serves.chain(stem).chain(tags).chain(uses).take(TOKENS_MAX);
    all.map(|token| (token.clone(), token.weight(everywhere))).collect()
}

/// Ports that so many servers offer that they tell nothing.
pub(super) fn everywhere<'a>(profiles: impl Iterator<Item = &'a Profile>) -> BTreeSet<Port> {
    let mut servers = 0usize;
    let mut counts: BTreeMap<Port, usize> = BTreeMap::new();
    for profile in profiles {
        let mut serves = false;
        for port in profile.firm_services() {
            *counts.entry(port).or_default() += 1;
            serves = true;
        }
        servers += usize::from(serves);
    }
    let many = |count: usize| servers >= SERVERS_MIN && count as f64 > servers as f64 * EVERYWHERE;
    counts.into_iter().filter(|(_, count)| many(*count)).map(|(port, _)| port).collect()
}

/// The name without what counts its likes: `web-014.dc.example` and `web-2` are `web-#`. `None` where nothing is
/// counted: then the name is one VM's own.
pub fn stem(name: &str) -> Option<String> {
    let host = name.split('.').next().unwrap_or(name).to_ascii_lowercase();
    let mut out = String::with_capacity(host.len().min(64));
    let mut counted = false;
    for c in host.chars().take(64) {
        // A pool's names count in decimal or in hexadecimal behind a dash; letters alone are words.
        match c.is_ascii_digit() {
            true if out.ends_with('#') => {}
            true => {
                out.push('#');
                counted = true;
            }
            false => out.push(c),
        }
    }
    (counted && out.chars().any(|c| c.is_ascii_alphabetic())).then_some(out)
}

/// Weighted Jaccard: Σ min / Σ max, 0..=1.
pub(super) fn jaccard(a: &Tokens, b: &Tokens) -> f64 {
    let (mut common, mut all) = (0u64, 0u64);
    for (token, weight) in a {
        let other = b.get(token).copied().unwrap_or(0);
        common += u64::from(other.min(*weight));
        all += u64::from(other.max(*weight));
    }
    all += b.iter().filter(|(token, _)| !a.contains_key(*token)).map(|(_, weight)| u64::from(*weight)).sum::<u64>();
    if all == 0 { 0.0 } else { common as f64 / all as f64 }
}

impl Token {
    pub(super) fn weight(&self, everywhere: &BTreeSet<Port>) -> u16 {
        match self {
            Token::Serves(transport, port) if everywhere.contains(&(*transport, *port)) => EVERYWHERE_WEIGHT,
            Token::Serves(..) => SERVES,
            Token::Stem(_) => STEM,
            Token::Tag(_) => TAG,
            Token::Uses(..) => USES,
        }
    }

    pub(super) fn serves(&self) -> Option<Port> {
        match self {
            Token::Serves(transport, port) => Some((*transport, *port)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ports: &[u16]) -> Tokens {
        ports.iter().map(|port| (Token::Serves(Transport::Tcp, *port), SERVES)).collect()
    }

    #[test]
    fn counted_names_have_a_stem_and_others_none() {
        assert_eq!(stem("web-014.dc.example").as_deref(), Some("web-#"));
        assert_eq!(stem("WEB-2").as_deref(), Some("web-#"));
        assert_eq!(stem("k8s-node3a").as_deref(), Some("k#s-node#a"));
        assert_eq!(stem("fileserver"), None);
        assert_eq!(stem("10.0.0.5"), None);
        assert!(stem(&"9a".repeat(4_000)).is_some_and(|s| s.len() <= 64));
    }

    #[test]
    fn jaccard_weighs_and_is_symmetric() {
        let (a, b) = (set(&[80, 443, 22]), set(&[80, 443]));
        assert!((jaccard(&a, &b) - 2.0 / 3.0).abs() < 1e-9);
        assert_eq!(jaccard(&a, &b), jaccard(&b, &a));
        assert_eq!((jaccard(&a, &a), jaccard(&a, &Tokens::new())), (1.0, 0.0));
    }
}
