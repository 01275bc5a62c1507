//! Baselines: what is normal for one VM: the services it offers and the peers it uses, how ripe that knowledge
//! is, and what people approved. Observed, learned and sanctioned are three records; only a person or a policy
//! writes the third.

mod collection;
mod component;
mod diff;
mod document;
mod follow;
mod forgotten;
mod identity;
mod likes;
mod novelty;
mod policy_out;
mod profile;
mod rate;
mod records;
mod ripeness;
mod role;
mod sanction;
mod signature;
mod standing;
#[cfg(test)]
mod tests;
mod text;
mod volume;
mod watched;

pub use collection::{Baselines, Lesson};
pub use diff::{DiffLine, DiffSign, diff};
pub use document::{Directory, Document, Fault, VmDocument};
pub use follow::{Followed, Sheet};
pub use identity::{Aspect, Identity, Replaced};
pub use policy_out::{RuleFormat, Rules, Simulated};
pub use profile::{LearnedPeer, LearnedService, Port, Profile};
pub use rate::NoveltyRate;
pub(crate) use ripeness::Hours;

pub use ripeness::{Feature, Phase, Ripeness, Tally};
pub use role::{Role, Roles, Who, stem};
pub use volume::{By, Current, Receiver, Usual, Volumes, z_among};

pub use sanction::{Sanction, SanctionSource, Sanctions, parse_port};
pub use signature::{NAMESPACE, Signers};
pub use text::TEXT_BYTES_MAX;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the baseline does with what it has not learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Each VM learns until its baseline is ripe, then is judged.
    #[default]
    Auto,
    /// Everything is learned, nothing is judged.
    Learn,
    /// Nothing new is learned; everything is judged, ripe or not; an unknown VM is a finding.
    Enforce,
}

/// The `[baseline]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BaselineConfig {
    pub mode: Mode,
    /// A VM is watched this long before it can be ripe: one day, so that every daily habit was met once; less the
    /// two hours in which a fresh probe meets its VMs.
    pub observe_h_min: f64,
    /// Answered flows (served or made) before it can be ripe: with none of its services new in 30 flows, the rule
    /// of three bounds the share of flows that bring one at 10 %.
    pub flows_min: u64,
    /// Good–Turing bound: at most this share of flows may belong to services seen once only (detection.md 4.2).
    pub missing_mass_max: f64,
    /// Rule of three: ripe when the 95 % upper bound of new services a day, 3 / quiet days, is at most this.
    /// 12 a day asks for 6 quiet hours. It is loose because one VM alone cannot give more in days; pooling by
    /// role tightens it.
    pub novelty_per_day_max: f64,
    /// Who is hardly used is ripe after so many days of watching, if nothing new came lately.
    pub ripe_d_max: f64,
    /// New keys that may enter a ripe VM's baseline in a day without anyone's word.
    pub new_keys_per_day: u32,
    /// Profiles kept; beyond it the unripe that were silent longest make room, else the newcomer is refused.
    pub vms_max: usize,
    /// Services learned of one VM; further ones are refused and counted. A VM with more is a scanned tarpit.
    pub services_max: usize,
    /// Peer edges learned of one client VM; further ones are refused and counted.
    pub peers_max: usize,
    /// Keys (minisign or ssh) of those whose signed baselines are imported. Where it is set, nothing else is.
    pub signers: Option<PathBuf>,
    /// A folder that probes share, a file in it for each VM: a VM that comes from another probe is judged at once.
    pub follow: Option<PathBuf>,
}

impl Default for BaselineConfig {
    fn default() -> Self {
        BaselineConfig {
            mode: Mode::Auto,
            observe_h_min: 22.0,
            flows_min: 30,
            missing_mass_max: 0.05,
            novelty_per_day_max: 12.0,
            ripe_d_max: 7.0,
            new_keys_per_day: 3,
            vms_max: 100_000,
            services_max: 1_024,
            peers_max: 4_096,
            signers: None,
            follow: None,
        }
    }
}

impl BaselineConfig {
    /// Keys that are each right and not right together.
    pub fn at_odds(&self) -> Option<&'static str> {
        let both = self.signers.is_some() && self.follow.is_some();
        both.then_some("[baseline] follow takes what probes wrote, and signers only what people signed: remove one")
    }
}

crate::counters! {
    pub struct BaselineCounters {
        /// A VM, service or edge was not learned because its table is full.
        vms_refused => "baseline.refused.vms",
        services_refused => "baseline.refused.services",
        peers_refused => "baseline.refused.peers",
        /// Unripe profiles forgotten to make room.
        vms_evicted => "baseline.evicted.vms",
        /// New keys beyond `new_keys_per_day`.
        limited => "baseline.limited",
        /// Changes that were judged and not learned from.
        withheld => "baseline.withheld",
    }
}
