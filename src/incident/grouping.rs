//! Which findings belong together: same detector, VM and service; and whatever an unknown VM does belongs to the
//! incident that it is there at all.

use std::net::IpAddr;

use crate::model::{Finding, Incident, Segment, Transport, VmId};

/// Detector's signature id, VM, service.
pub(super) type Group = (u32, VmId, Option<(Transport, u16)>);

/// `new-vm`, whose incident absorbs what else is found about its VM.
pub(super) const NEW_VM: u32 = 1;
/// `new-service`, `service-replaced`, `service-gone`: whose service is their VM's own.
pub(super) const SERVICE_DETECTORS: [u32; 3] = [2, 3, 4];
/// `new-peer`, whose service is another VM's.
pub(super) const NEW_PEER: u32 = 5;

pub(super) fn of_finding(finding: &Finding) -> Group {
    if let Some(fold) = &finding.fold {
        return folded(finding.detector.signature_id, fold);
    }
    (finding.detector.signature_id, finding.vm, finding.service.as_ref().map(|s| (s.0, s.1)))
}

pub(super) fn of_incident(incident: &Incident) -> Group {
    if let Some(fold) = &incident.fold {
        return folded(incident.signature_id, fold);
    }
    (incident.signature_id, incident.vm, incident.service.as_ref().map(|s| (s.0, s.1)))
}

/// VMs of one kind are one group; no VM has its id.
fn folded(signature_id: u32, fold: &str) -> Group {
    (signature_id, VmId::derive(&[b"fold", fold.as_bytes()], 0), None)
}

/// Address and segment of the finding's VM: its end of the flow, which is the one that is not the peer's.
pub(super) fn place(finding: &Finding) -> (Option<IpAddr>, Segment) {
    let Some(flow) = &finding.flow else { return (finding.vm_label.parse().ok(), Segment::UNTAGGED) };
    let ip = match finding.peer {
        Some((_, peer)) if peer == flow.orig.ip => Some(flow.resp.ip),
        Some((_, peer)) if peer == flow.resp.ip => Some(flow.orig.ip),
        _ => finding.vm_label.parse().ok(),
    };
    (ip, flow.segment)
}
