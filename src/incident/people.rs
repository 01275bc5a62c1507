//! What people do with incidents: acknowledge, resolve, comment, and approve what one is about.
//! Texts are cleaned like those of the wire and cut to 256 bytes; the timeline is bounded by the incident.

use super::grouping::NEW_PEER;
use super::register::{Incidents, note};
use super::{IncidentEvent, grouping};
use crate::model::{AppInfo, AppProto, Incident, IncidentId, IncidentState, Timestamp, Transport, VmId};

impl Incidents {
    /// Someone is on it. It stays so while it grows, unless it gets worse.
    pub fn ack(&mut self, id: IncidentId, by: &str, text: &str, now: Timestamp) -> Result<IncidentEvent, String> {
        self.step(id, by, text, now, "acknowledged", |incident| match incident.state {
            IncidentState::Open | IncidentState::Growing => Ok(IncidentState::Acknowledged),
            IncidentState::Acknowledged => Err(format!("{id} is acknowledged already{}", last(incident))),
            IncidentState::Resolved => Err(format!(
                "{id} is resolved{}; a further finding opens it again, a comment may be added",
                last(incident)
            )),
        })
    }

    /// Done. A further finding within the reopening time opens it again; approve the service to keep it quiet.
    pub fn resolve(&mut self, id: IncidentId, by: &str, text: &str, now: Timestamp) -> Result<IncidentEvent, String> {
        self.step(id, by, text, now, "resolved", |incident| match incident.state {
            IncidentState::Resolved => Err(format!("{id} is resolved already{}", last(incident))),
            _ => Ok(IncidentState::Resolved),
        })
    }

    pub fn comment(&mut self, id: IncidentId, by: &str, text: &str, now: Timestamp) -> Result<IncidentEvent, String> {
        if text.trim().is_empty() {
            return Err("a comment needs a text".to_owned());
        }
        self.step(id, by, text, now, "comment", |incident| Ok(incident.state))
    }

    /// A sanction was added: what is open on it is explained, hence resolved. Without a port everything about the
    /// VM is. A `new-peer` incident names another VM's service and is not touched by a sanction of a port.
    #[allow(clippy::too_many_arguments)]
    pub fn sanctioned(
        &mut self,
        vm: VmId,
        port: Option<(Transport, u16)>,
        app: Option<&AppProto>,
        by: &str,
        text: &str,
        now: Timestamp,
        out: &mut Vec<IncidentEvent>,
    ) {
        let covered = |incident: &&Incident| {
            let (signature_id, of, service) = grouping::of_incident(incident);
            let proved = incident.service.as_ref().and_then(|s| s.2.as_ref());
            let app_fits = app.is_none_or(|approved| proved.is_none_or(|proved| proved == approved));
            of == vm && (port.is_none() || (service == port && signature_id != NEW_PEER && app_fits))
        };
        let ids: Vec<IncidentId> = self.all.values().filter(covered).map(|i| i.id).collect();
        let (by, text) = (clean(by), format!("sanctioned: {}", clean(text)));
        for id in ids {
            self.settle(id, &by, &text, now, out);
        }
    }

    fn step(
        &mut self,
        id: IncidentId,
        by: &str,
        text: &str,
        now: Timestamp,
        what: &str,
        next: impl Fn(&Incident) -> Result<IncidentState, String>,
    ) -> Result<IncidentEvent, String> {
        let incident = self
            .all
            .get_mut(&id)
            .ok_or_else(|| format!("there is no incident {id}; `eastwatch incidents list` names them"))?;
        let from = incident.state;
        incident.state = next(incident)?;
        note(incident, now, &clean(by), what, &clean(text));
        self.dirty.insert(id);
        Ok(IncidentEvent::Changed { incident: incident.clone(), from })
    }
}

/// Who moved it last, for an error.
fn last(incident: &Incident) -> String {
    let moved = |e: &&crate::model::TimelineEntry| matches!(e.what.as_str(), "acknowledged" | "resolved");
    let entry = incident.timeline.iter().rev().find(moved);
    entry.map(|e| format!(", by {} at {}", e.by, e.time.short())).unwrap_or_default()
}

fn clean(text: &str) -> String {
    AppInfo::clean(text.as_bytes())
}
