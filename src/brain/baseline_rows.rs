//! Baselines and roles as the JSON rows of docs/reference.md: how ripe each feature is, and what it waits for.

use serde_json::{Map, Value, json};

use super::Brain;
use super::rows::rounded;
use crate::baseline::{Feature, Port, Ripeness, Role};
use crate::inventory::Vm;
use crate::model::{RoleId, Timestamp, VmId};

/// Members of a role that are named.
const MEMBERS_NAMED_MAX: usize = 20;

impl Brain {
    pub fn baseline_row(&self, vm: &Vm) -> Value {
        let now = self.now();
        let of = |feature| self.baselines.ripeness(vm.id, feature, now);
        let (ripeness, peers) = (of(Feature::Services), of(Feature::Peers));
        let profile = self.baselines.profile(vm.id);
        let features: Map<String, Value> =
            Feature::ALL.into_iter().map(|feature| (feature.to_string(), feature_row(&of(feature), now))).collect();
        json!({
            "vm": vm.id,
            "vm_name": vm.name,
            "role": self.baselines.roles().of(vm.id).map(|(_, role)| role.label()),
            "phase": ripeness.phase,
            "ripeness": rounded(ripeness.value),
            "services": profile.map_or(0, |p| p.services.len()),
            "peers": profile.map_or(0, |p| p.peers.len()),
            "peers_phase": peers.phase,
            "peers_ripeness": rounded(peers.value),
            "flows": ripeness.tally.flows,
            "observed": format!("{:.0} h", ripeness.tally.observed_h.floor()),
            "provisional": profile.map_or(0, |p| p.services.values().filter(|s| s.provisional).count()),
            "unseen": ripeness.unseen().round(),
            "waits_for": ripeness.to_string(),
            "latest": latest(&ripeness, now),
            "features": features,
        })
    }

    /// Roles in order of label, the largest first among equals.
    pub fn role_rows(&self) -> Vec<Value> {
        let mut roles: Vec<(RoleId, &Role)> = self.baselines.roles().iter().collect();
        roles.sort_by_key(|(id, role)| (role.label(), std::cmp::Reverse(role.members.len()), *id));
        roles.into_iter().map(|(id, role)| self.role_row(id, role)).collect()
    }

    fn role_row(&self, id: RoleId, role: &Role) -> Value {
        let label = |vm: &VmId| self.shown_name(*vm).unwrap_or_else(|| vm.to_string());
        let mut members: Vec<String> = role.members.iter().map(label).collect();
        members.sort();
        let more = members.len().saturating_sub(MEMBERS_NAMED_MAX);
        members.truncate(MEMBERS_NAMED_MAX);
        let ports = |ports: &mut dyn Iterator<Item = Port>| ports.map(|(t, p)| format!("{t}/{p}")).collect::<Vec<_>>();
        json!({
            "role": id,
            "label": role.label(),
            "vms": role.members.len(),
            "phase": if role.ripe_since.is_some() { "ripe" } else { "learning" },
            "ripe_since": role.ripe_since,
            "serves": ports(&mut role.serves()),
            "uses": ports(&mut role.uses()),
            "founded": role.founded,
            "members": members,
            "members_not_named": more,
        })
    }
}

fn feature_row(ripeness: &Ripeness, now: Timestamp) -> Value {
    json!({
        "phase": ripeness.phase,
        "ripeness": rounded(ripeness.value),
        "by_role": ripeness.by_role,
        "items": ripeness.tally.items,
        "once": ripeness.tally.once,
        "unseen": rounded(ripeness.unseen()),
        "missing_mass": rounded(ripeness.missing_mass()),
        "novelty_per_day_max": rounded(ripeness.novelty_per_day()),
        "waits_for": ripeness.to_string(),
        "latest": latest(ripeness, now),
    })
}

/// When it is ripe at the latest, if nothing new comes and the probe watches on.
fn latest(ripeness: &Ripeness, now: Timestamp) -> Option<Timestamp> {
    (!ripeness.is_ripe()).then(|| now.plus_s((ripeness.latest_h * 3_600.0).ceil() as i64))
}
