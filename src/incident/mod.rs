//! Incidents: findings that belong together, as one durable thread with a state that people move on.
//! `open` → `growing` → `acknowledged` → `resolved`; a finding on a resolved one opens it again.

mod absorbed;
mod budget;
mod grouping;
mod people;
mod register;

#[cfg(test)]
mod rank_tests;
#[cfg(test)]
mod tests;

pub use budget::{AlertsConfig, Daily, Standing, notices_per_day, pages_per_day, rate_lower};
pub use register::Incidents;

use serde::{Deserialize, Serialize};

use crate::model::{Incident, IncidentId, IncidentState};

/// The `[incidents]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IncidentConfig {
    /// Incidents kept; beyond it the resolved that are oldest are forgotten, then the least severe open ones.
    pub incidents_max: usize,
    /// A finding on an incident resolved within this time opens it again; later it is a new one.
    pub reopen_d: i64,
    /// Resolved incidents are kept this long.
    pub keep_resolved_d: i64,
    /// An incident of severity low or info without a finding for this long is resolved by eastwatch itself.
    pub quiet_low_d: i64,
}

impl Default for IncidentConfig {
    fn default() -> Self {
        IncidentConfig { incidents_max: 10_000, reopen_d: 30, keep_resolved_d: 90, quiet_low_d: 30 }
    }
}

/// What a person or a channel may want to hear. Carries the incident as it is afterwards.
#[derive(Clone, Debug, PartialEq)]
pub enum IncidentEvent {
    Opened(Incident),
    /// Its state changed, or (`from` equal to its state) it grew in a way that is told, or was commented on.
    Changed {
        incident: Incident,
        from: IncidentState,
    },
}

impl IncidentEvent {
    pub fn incident(&self) -> &Incident {
        match self {
            IncidentEvent::Opened(incident) | IncidentEvent::Changed { incident, .. } => incident,
        }
    }
}

/// Where a finding went: its alert carries the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    pub incident: IncidentId,
    /// True where the finding opened it, or opened it again.
    pub opened: bool,
}

crate::counters! {
    pub struct IncidentCounters {
        opened => "incident.opened",
        reopened => "incident.reopened",
        /// Findings that joined an incident that was there.
        joined => "incident.joined",
        /// Findings of severity info: they open none.
        informed => "incident.informed",
        /// Resolved incidents forgotten: old, or to make room.
        forgotten => "incident.forgotten",
        /// By rank, reopened ones included; raised: those that got worse later and rose.
        pages => "incident.rank.page",
        notices => "incident.rank.notice",
        digest => "incident.rank.digest",
        raised => "incident.rank.raised",
        /// Unresolved incidents forgotten because the register is full of them.
        lost => "incident.lost",
    }
}
