//! Services found against services known: recall and precision over captures and protocols.
//!
//! Counted are TCP and UDP; judged is what is left when the truth's own errors are taken out. What is extra but rests on a TCP connection that began before the capture is counted apart:
//! the truth shows no service there, so such a one is not wrong. A UDP answer without its request is no such case.

use std::collections::{BTreeMap, BTreeSet};

use eastwatch::model::ServiceClass;

use super::explained::{EXTRA, Explanations, MISSING, Why};
use super::pipeline::Found;
use super::truth::Capture;
use super::{Key, SERVICES_MIN, Tallies, Without, mean};

#[derive(Default)]
pub struct Services {
    pub captures: Tallies,
    pub protocols: Tallies,
    pub differences: Vec<Difference>,
    /// Extra, in the middle of a TCP connection.
    pub midstream: usize,
    /// Extra, proved by what it sent to a group; the truth does not look there.
    pub to_groups: usize,
    /// Known on weaker evidence, and found.
    pub weaker: usize,
}

pub struct Difference {
    pub path: String,
    pub what: &'static str,
    pub key: Key,
    pub note: String,
    pub explained: Option<Why>,
}

impl Services {
    pub fn compare(&mut self, capture: &Capture, found: &[Found], explanations: &mut Explanations) {
        if capture.recorded {
            return;
        }
        let counted = |f: &&Found| matches!(f.key.1.as_str(), "tcp" | "udp");
        let by_key: BTreeMap<&Key, &Found> = found.iter().filter(counted).map(|f| (&f.key, f)).collect();
        let keys: BTreeSet<&Key> = capture.services.iter().chain(by_key.keys().copied()).collect();
        for key in keys {
            let (known, here) = (capture.services.contains(key), by_key.get(key));
            let (what, note) = match (known, here) {
                (true, Some(_)) => ("right", String::new()),
                (true, None) => (MISSING, String::new()),
                (false, Some(f)) if capture.weaker.contains(&f.key) => {
                    self.weaker += 1;
                    continue;
                }
                (false, Some(f)) if f.midstream && f.key.1 == "tcp" => {
                    self.midstream += 1;
                    continue;
                }
                (false, Some(f)) if matches!(f.class, ServiceClass::Multicast | ServiceClass::Broadcast) => {
                    self.to_groups += 1;
                    continue;
                }
                (false, Some(f)) => (EXTRA, format!("{} {}", f.app.as_deref().unwrap_or("-"), f.evidence)),
                (false, None) => continue,
            };
            let explained = match what {
                "right" => None,
                _ => explanations.of(&capture.path, what, key),
            };
            let protocol = protocol(capture, key, here.copied());
            for tally in
                [self.captures.entry(capture.path.clone()).or_default(), self.protocols.entry(protocol).or_default()]
            {
                match what {
                    MISSING => tally.missing.add(explained.as_ref()),
                    EXTRA => tally.extra.add(explained.as_ref()),
                    _ => tally.right += 1,
                }
            }
            if what != "right" {
                self.differences.push(Difference {
                    path: capture.path.clone(),
                    what,
                    key: key.clone(),
                    note,
                    explained,
                });
            }
        }
    }

    /// Mean recall and precision of these tallies.
    pub fn means(tallies: &Tallies, without: Without) -> (Option<f64>, Option<f64>) {
        (mean(tallies.values().map(|t| t.recall(without))), mean(tallies.values().map(|t| t.precision(without))))
    }

    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for (name, tallies) in [("captures", &self.captures), ("protocols", &self.protocols)] {
            let (recall, precision) = Services::means(tallies, Without::TruthErrors);
            for (what, value) in [("recall", recall), ("precision", precision)] {
                if value.is_none_or(|v| v < SERVICES_MIN) {
                    failures.push(format!("services: {what} over {name} is {value:?}, not {SERVICES_MIN}"));
                }
            }
        }
        failures
    }
}

/// What the service speaks: as the truth says, else as was found, else only its transport.
fn protocol(capture: &Capture, key: &Key, found: Option<&Found>) -> String {
    let app = capture.apps.get(key).and_then(|apps| apps.first()).cloned().or_else(|| found?.app.clone());
    format!("{}/{}", key.1, app.unwrap_or_else(|| "unnamed".to_owned()))
}
