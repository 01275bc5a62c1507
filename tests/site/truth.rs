//! The truth of a scenario: what was done, by what, to whom. A line of JSON each, beside the events.

use eastwatch::model::Transport;
use serde::{Deserialize, Serialize};

use super::Micros;
use super::event::Id;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// Seconds since the scenario began: the packet from which on it can be known.
    pub t: f64,
    pub event: Done,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src: Option<Id>,
    pub dst: Id,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    pub cause_id: u32,
    /// The cause that this one follows from (of an infection: the one that infected `src`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<u32>,
    /// What kind of it, for tables: `nc`, `rdp`, `udp-implant`, `rollout`…
    pub kind: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// A service that was not there before answered its first qualifying connection.
    ServiceStart,
    ServiceStop,
    Move,
    /// Something that looks like an attack and is none.
    BenignAction,
    Infect,
    Probe,
}

impl Truth {
    pub fn service(at: Micros, src: Id, dst: Id, service: (Transport, u16), cause_id: u32, kind: &str) -> Self {
        Truth {
            t: at as f64 / 1e6,
            event: Done::ServiceStart,
            src: Some(src),
            dst,
            port: Some(service.1),
            transport: Some(service.0.to_string()),
            cause_id,
            parent: None,
            kind: kind.to_owned(),
        }
    }

    pub fn action(at: Micros, dst: Id, event: Done, cause_id: u32, kind: &str) -> Self {
        let (src, port, transport, parent) = (None, None, None, None);
        Truth { t: at as f64 / 1e6, event, src, dst, port, transport, cause_id, parent, kind: kind.to_owned() }
    }

    pub fn at(&self) -> Micros {
        (self.t * 1e6).round() as Micros
    }

    pub fn write(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }

    /// # Errors
    /// The line is none of this format.
    pub fn read(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|e| e.to_string())
    }
}
