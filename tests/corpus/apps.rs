//! Application protocols told against those known, by protocol.
//!
//! A protocol with fewer than [`ROWS_MIN`] rows in the corpus is judged on recordings of real servers; where there are
//! none either it is printed and not judged.

use std::collections::{BTreeMap, BTreeSet};

use super::explained::{APP, Explanations};
use super::pipeline::{Found, Outcome};
use super::services::Difference;
use super::truth::Capture;
use super::{APP_RIGHT_MIN, APP_WRONG_MAX};

/// The protocols that must hold the targets.
pub const LISTED: &[&str] = &[
    "http",
    "tls",
    "ssh",
    "dns",
    "smb",
    "dcerpc",
    "rdp",
    "ldap",
    "krb5",
    "ftp",
    "smtp",
    "pop3",
    "imap",
    "telnet",
    "mysql",
    "pgsql",
    "mssql-tds",
    "mongodb",
    "redis",
    "memcached",
    "ntp",
    "snmp",
    "dhcp",
    "nfs",
    "rpc",
    "portmap",
    "rfb",
    "sip",
];
const ROWS_MIN: usize = 3;

#[derive(Default)]
pub struct Apps {
    pub protocols: BTreeMap<String, App>,
    pub differences: Vec<Difference>,
}

#[derive(Default)]
pub struct App {
    pub rows: usize,
    pub right: usize,
    pub wrong: usize,
    pub null: usize,
    pub explained: usize,
    /// Rows of recordings, of all.
    pub recorded: usize,
    pub captures: BTreeSet<String>,
    /// Distinct products that were told, and repositories or recordings the captures come from.
    pub implementations: BTreeSet<String>,
}

impl Apps {
    pub fn compare(&mut self, capture: &Capture, found: &Outcome, explanations: &mut Explanations) {
        let by_key: BTreeMap<_, &Found> = found.services.iter().map(|f| (&f.key, f)).collect();
        for (key, names) in &capture.apps {
            let here = by_key.get(key);
            let of_service = here.and_then(|f| f.app.as_deref());
            let of_flows = found.flow_apps.get(key);
            // What a service is called must be true of it; a service that never answered is none, and its flows tell.
            let false_name = of_service.is_some_and(|app| !names.contains(app));
            for name in names {
                let app = self.protocols.entry(name.clone()).or_default();
                app.rows += 1;
                app.recorded += usize::from(capture.recorded);
                app.captures.insert(capture.path.clone());
                let product = here.and_then(|f| f.product.clone()).map(|p| p.to_lowercase());
                let implementation = product.filter(|_| !capture.recorded).unwrap_or_else(|| capture.origin.clone());
                app.implementations.insert(implementation);
                let told = of_service == Some(name) || of_flows.is_some_and(|apps| apps.contains(name));
                if told && !false_name {
                    app.right += 1;
                    continue;
                }
                let explained = explanations.of(&capture.path, APP, key);
                match (&explained, of_service.is_some() || of_flows.is_some()) {
                    (Some(_), _) => app.explained += 1,
                    (None, true) => app.wrong += 1,
                    (None, false) => app.null += 1,
                }
                let note = match (of_service, of_flows) {
                    (Some(other), _) => format!("{name}: the service is told as {other}"),
                    (None, Some(others)) => format!("{name}: flows are told as {others:?}"),
                    (None, None) => format!("{name}: not named"),
                };
                let (path, key) = (capture.path.clone(), key.clone());
                self.differences.push(Difference { path, what: APP, key, note, explained });
            }
        }
    }

    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for (name, app) in self.protocols.iter().filter(|(name, app)| app.judged(name)) {
            if app.share(app.right).is_some_and(|share| share < APP_RIGHT_MIN) {
                failures.push(format!("{name}: {} of {} rows are right", app.right, app.rows - app.explained));
            }
            if app.share(app.wrong).is_some_and(|share| share > APP_WRONG_MAX) {
                failures.push(format!("{name}: {} of {} rows are wrong", app.wrong, app.rows - app.explained));
            }
        }
        failures
    }
}

impl App {
    pub fn judged(&self, name: &str) -> bool {
        LISTED.contains(&name) && (self.recorded > 0 || self.rows - self.explained >= ROWS_MIN)
    }

    /// Of the rows that are not explained.
    pub fn share(&self, of: usize) -> Option<f64> {
        let rows = self.rows - self.explained;
        (rows > 0).then(|| of as f64 / rows as f64)
    }
}
