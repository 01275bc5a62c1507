//! Findings: one detector's statement about one VM at one time, with its evidence.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::app::AppProto;
use super::flow::{FlowRef, Transport};
use super::ids::VmId;
use super::quality::CaptureQuality;
use super::rank::Surprise;
use super::time::Timestamp;

/// A detector's name, as users hold on to it. Each detector's file declares its own.
#[derive(Debug, PartialEq, Eq)]
pub struct Detector {
    /// EVE `alert.signature_id` under gid 9001.
    pub signature_id: u32,
    /// Stable kebab-case name.
    pub name: &'static str,
    /// EVE `alert.signature`: what it says in a few words.
    pub signature: &'static str,
    /// MITRE ATT&CK technique ids.
    pub techniques: &'static [&'static str],
}

pub type DetectorId = &'static Detector;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    #[default]
    Info,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    pub const ALL: [Severity; 5] =
        [Severity::Info, Severity::Low, Severity::Medium, Severity::High, Severity::Critical];

    /// EVE `alert.severity`: 1 high … 4 info.
    pub fn eve(self) -> u8 {
        match self {
            Severity::Critical | Severity::High => 1,
            Severity::Medium => 2,
            Severity::Low => 3,
            Severity::Info => 4,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Info => "info",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        })
    }
}

impl FromStr for Severity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Severity::ALL
            .into_iter()
            .find(|s| s.to_string() == text)
            .ok_or_else(|| format!("`{text}` is not a severity: info, low, medium, high or critical"))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub detector: DetectorId,
    pub severity: Severity,
    pub time: Timestamp,
    pub vm: VmId,
    /// The VM's name, else its address: what a person calls it.
    pub vm_label: String,
    pub vm_name: Option<String>,
    /// The service it is about: transport, port, proved application.
    pub service: Option<(Transport, u16, Option<AppProto>)>,
    /// The other VM or address it is about.
    pub peer: Option<(Option<VmId>, IpAddr)>,
    /// The flow that proved it.
    pub flow: Option<FlowRef>,
    /// One line for a list.
    pub title: String,
    /// Why it is believed, in the baseline's numbers.
    pub reason: String,
    pub evidence: Evidence,
    pub quality: CaptureQuality,
    /// Findings of one detector with one of these are one incident, whatever their VMs: `web-#`.
    pub fold: Option<String>,
    /// How little it was to be expected: what the alert budget ranks by.
    pub surprise: Surprise,
    /// It is on the list that is reported whatever the budget.
    pub always: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Frame numbers over the whole input, at most 20.
    pub frames: Vec<u64>,
    /// Name and value of what else supports it, for people.
    pub facts: Vec<(String, String)>,
}
