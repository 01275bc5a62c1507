//! The day-0 list: what is told from the first hour, ripe or not, once the payload proved it. Login in clear text, a
//! shell, remote access on a VM that was only ever a client, a database in clear text that another segment reaches.
//! Only in `auto`; one incident for all VMs of a kind where a network is full of it. Exposed databases that were told
//! are remembered up to `told_max`; the longest untouched is forgotten, and counted.

use serde::{Deserialize, Serialize};

use super::memory::Memory;
use super::new_service::DETECTOR;
use super::{World, frames, remote_access};
use crate::baseline::Mode;
use crate::inventory::{Change, What};
use crate::model::{AppInfo, AppProto, Evidence, Finding, ServiceKey, Severity, Timestamp, VmId};
use crate::store::{Batch, Kind, Store, StoreError};

static EXPOSED: Kind = Kind { tag: 0x50, name: "exposed database", version: 1 };

/// A VM must have been seen this long as nothing but a client before its first remote access says anything: at the
/// very start everything is seen for the first time.
const CLIENT_ONLY_H: f64 = 1.0;
/// Give control besides what `remote_access.rs` names.
const ADMINISTRATIVE: &[&str] = &["rsh", "rlogin", "spice", "teamviewer", "jdwp"];
/// Show a screen to whoever knows a short password (RFC 6143 section 7.2.2: DES, eight characters).
const SCREENS: &[&str] = &["rfb"];
/// Databases that speak in clear text unless they are wrapped (then the payload proves `tls`).
const DATABASES: &[&str] = &["redis", "memcached", "mongodb", "cassandra", "clickhouse"];
/// The same over HTTP, as `application` says.
const DATABASES_HTTP: &[&str] = &["elasticsearch", "couchdb", "influxdb", "clickhouse"];

/// Why something is on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Case {
    ClearLogin,
    Shell,
    /// The first service of a VM that was a client.
    FirstAccess,
    /// Screen and keyboard, whatever else the VM serves.
    Screen,
}

impl Case {
    /// Of a VM that is not judged otherwise.
    pub fn severity(self) -> Severity {
        match self {
            Case::Shell | Case::ClearLogin => Severity::High,
            Case::FirstAccess | Case::Screen => Severity::Medium,
        }
    }

    /// What the reason says of it.
    pub fn text(self) -> &'static str {
        match self {
            Case::ClearLogin => "login in clear text",
            Case::Shell => "its bytes are an interactive shell's",
            Case::FirstAccess => "it gives control of a VM that had only been a client",
            Case::Screen => "it gives away screen and keyboard, behind eight characters of password at most",
        }
    }
}

/// Does the change prove for the first time what is always told?
pub fn case(key: &ServiceKey, change: &Change, world: &World<'_>, clear_login: &[AppProto]) -> Option<Case> {
    let What::ServiceApp { before, now, .. } = &change.what else { return None };
    let known = before.as_ref().is_some_and(|before| before.proto == now.proto)
        && world.baselines.service(key).is_some_and(|learned| !learned.identity.is_empty());
    if world.mode() != Mode::Auto || known {
        return None;
    }
    let app = now.proto.as_str();
    if app == "shell" {
        return Some(Case::Shell);
    }
    if clear_login.contains(&now.proto) {
        return Some(Case::ClearLogin);
    }
    if SCREENS.contains(&app) {
        return Some(Case::Screen);
    }
    let administrative = ADMINISTRATIVE.contains(&app)
        || remote_access::is_remote_access(key.transport, key.port, Some(app))
        || now.get("application") == Some("winrm");
    let watched_h = || world.baselines.client_only_h(key, change.time);
    (administrative && watched_h().is_some_and(|hours| hours >= CLIENT_ONLY_H)).then_some(Case::FirstAccess)
}

/// Databases that another segment reaches in clear text.
pub struct Exposed {
    told: Memory<ServiceKey, Timestamp>,
}

impl Exposed {
    pub fn new(told_max: usize) -> Self {
        Exposed { told: Memory::new(&EXPOSED, told_max) }
    }

    /// Told once for each service.
    pub fn judge(&mut self, change: &Change, world: &World<'_>, out: &mut Vec<Finding>) -> bool {
        let (key, client) = match &change.what {
            What::ServiceApp { service, .. } => (service, change.flow.as_ref().map(|flow| flow.orig.ip)),
            What::ServiceUsed { service, client, .. } => (service, Some(*client)),
            _ => return false,
        };
        let Some(client) = client.filter(|_| world.mode() == Mode::Auto && self.told.get(key).is_none()) else {
            return false;
        };
        let Some(seen) = world.known.service(key) else { return false };
        let app = seen.app.filter(|app| in_clear_text(app));
        let Some(app) = app.filter(|_| seen.basis.level >= 3 && world.known.is_elsewhere(key, client)) else {
            return false;
        };
        if world.sanctioned(key, change.time) {
            return false;
        }
        self.told.insert(*key, change.time, change.time);
        let name = database(app);
        let mut finding = world.finding(&DETECTOR, Severity::Medium, change, key.vm);
        let port = format!("{}/{}", key.transport, key.port);
        finding.title = format!("{} serves {name} in clear text to other segments on {port}", finding.vm_label);
        finding.reason = format!(
            "{client} of another segment uses {port} of {}; it speaks {name} and nothing of it is encrypted; \
             {} known; told whether ripe or not",
            finding.vm_label,
            super::count(seen.clients, "client"),
        );
        finding.service = Some((key.transport, key.port, Some(app.proto.clone())));
        finding.peer = Some((None, client));
        finding.fold = Some("cleartext databases".to_owned());
        finding.evidence = Evidence { frames: frames(change.flow.as_ref(), &[change.frame]), facts: Vec::new() };
        out.push(finding);
        true
    }

    pub fn forget(&mut self, vm: VmId) {
        self.told.forget(|key| key.vm == vm);
    }

    pub fn save(&mut self, batch: &mut Batch) {
        self.told.save(batch);
    }

    pub fn load(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        self.told.load(store)
    }

    pub fn evicted(&self) -> u64 {
        self.told.evicted()
    }
}

/// What a person calls the database.
fn database(app: &AppInfo) -> &str {
    app.get("application").unwrap_or(app.proto.as_str())
}

fn in_clear_text(app: &AppInfo) -> bool {
    match app.proto.as_str() {
        // A client may ask for TLS: only where it did not, or was refused, is it known.
        "pgsql" => {
            app.get("encryption") == Some("refused") || (app.get("encryption").is_none() && app.product.is_some())
        }
        "mysql" => app.get("encryption") == Some("none"),
        "http" => app.get("application").is_some_and(|name| DATABASES_HTTP.contains(&name)),
        other => DATABASES.contains(&other),
    }
}

#[cfg(test)]
#[path = "day0_tests.rs"]
mod tests;
