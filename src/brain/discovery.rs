//! The discovery summary: a fresh state is a discovery, not a storm. What was found in its first day is told in one
//! message when that day of watching ends; of a capture that is shorter nothing is told here.

use super::Brain;
use crate::inventory::Client;

const DAY_H: f64 = 24.0;

/// Applications that give control, as people count them.
const REMOTE: &[&str] = &["ssh", "rdp", "rfb", "telnet", "smb", "rsh", "rlogin", "spice", "teamviewer", "shell"];
const DATABASES: &[&str] = &["redis", "memcached", "mongodb", "cassandra", "clickhouse", "mysql", "pgsql"];

impl Brain {
    /// After each change; `before_h` was watched before it. Has the first day of watching ended in between?
    pub(super) fn summarise(&mut self, before_h: f64) {
        let after_h = self.baselines.watched_h();
        if before_h >= DAY_H || after_h < DAY_H {
            return;
        }
        let counts = self.discovered();
        tracing::info!("discovery of the first 24 h: {counts}");
        self.teller.summary(self.now, counts);
    }

    fn discovered(&self) -> serde_json::Value {
        let services = || self.inventory.services();
        let speaks = |among: &[&str]| {
            services().filter(|row| row.app.as_ref().is_some_and(|app| among.contains(&app.proto.as_str()))).count()
        };
        let clients = self.inventory.peers().filter(|edge| matches!(edge.client, Client::Vm(_))).count();
        let unknown = services().filter(|row| row.app.is_none() && row.clients == 1 && row.basis.level >= 4).count();
        serde_json::json!({
            "vms": self.inventory.vms().count(),
            "services": services().count(),
            "peers": clients,
            "remote_access": speaks(REMOTE),
            "databases": speaks(DATABASES),
            "unrecognised_with_one_client": unknown,
            "incidents": self.incidents.list().len(),
        })
    }
}
