//! Incidents: findings that belong together, one durable state machine.
//!
//! At most [`Incident::SAMPLES_MAX`] findings and [`Incident::TIMELINE_MAX`] timeline entries are kept of each;
//! beyond that they are counted (`findings`, `timeline_dropped`).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::app::AppProto;
use super::finding::{Evidence, Severity};
use super::flow::Transport;
use super::ids::{IncidentId, VmId};
use super::rank::Ranking;
use super::segment::Segment;
use super::time::Timestamp;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IncidentState {
    #[default]
    Open,
    Growing,
    Acknowledged,
    Resolved,
}

impl fmt::Display for IncidentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IncidentState::Open => "open",
            IncidentState::Growing => "growing",
            IncidentState::Acknowledged => "acknowledged",
            IncidentState::Resolved => "resolved",
        })
    }
}

impl FromStr for IncidentState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [IncidentState::Open, IncidentState::Growing, IncidentState::Acknowledged, IncidentState::Resolved]
            .into_iter()
            .find(|s| s.to_string() == text)
            .ok_or_else(|| format!("`{text}` is not a state: open, growing, acknowledged or resolved"))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    pub id: IncidentId,
    pub state: IncidentState,
    pub severity: Severity,
    pub ranking: Ranking,
    /// Detector name and its EVE signature id, of the finding that opened it.
    pub detector: String,
    pub signature_id: u32,
    pub techniques: Vec<String>,
    pub title: String,
    pub reason: String,
    pub vm: VmId,
    pub vm_name: Option<String>,
    pub ip: Option<IpAddr>,
    pub segment: Segment,
    pub service: Option<(Transport, u16, Option<AppProto>)>,
    /// It is about many VMs of one kind; `vm` is the first of them.
    pub fold: Option<String>,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// All findings that joined it, samples or not.
    pub findings: u64,
    pub samples: Vec<Sample>,
    pub timeline: Vec<TimelineEntry>,
    pub timeline_dropped: u64,
}

impl Incident {
    pub const SAMPLES_MAX: usize = 20;
    pub const TIMELINE_MAX: usize = 100;
}

/// What is kept of a finding inside its incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    pub time: Timestamp,
    pub detector: String,
    pub severity: Severity,
    pub title: String,
    pub reason: String,
    pub evidence: Evidence,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    pub time: Timestamp,
    /// Who did it: `eastwatch` or a person.
    pub by: String,
    /// `opened`, `grew`, `acknowledged`, `resolved`, `reopened`, `comment`…
    pub what: String,
    pub text: String,
}
