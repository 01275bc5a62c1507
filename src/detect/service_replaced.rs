//! `service-replaced`: a learned service's port now speaks another application, product family, SSH host key or
//! key exchange under the same banner, shows another certificate issuer, or answers with another family of TCP/IP
//! stacks. An upgrade is not one.
//! What was told is remembered for `told_max` services; the longest untouched is forgotten, and counted.

use serde::{Deserialize, Serialize};

use super::memory::Memory;
use super::{Detect, Verdict, World, frames};
use crate::baseline::{Aspect, Feature};
use crate::inventory::{Change, What};
use crate::model::{Detector, DetectorId, Evidence, Finding, ServiceKey, Severity, Timestamp, VmId};
use crate::store::{Batch, Kind, Store, StoreError};

pub static DETECTOR: Detector = Detector {
    signature_id: 3,
    name: "service-replaced",
    signature: "Another program answers on the port of a learned service",
    techniques: &["T1036", "T1554", "T1557"],
};

static TOLD: Kind = Kind { tag: 0x29, name: "service-replaced memory", version: 1 };

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub enabled: bool,
    /// The same replacement is told again at most this often.
    pub again_s: i64,
    pub told_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config { enabled: true, again_s: 86_400, told_max: 8_192 }
    }
}

pub struct ServiceReplaced {
    again_s: i64,
    /// What a service was told to show now, and when.
    told: Memory<ServiceKey, (Timestamp, Vec<String>)>,
}

impl ServiceReplaced {
    pub fn new(config: Config) -> Self {
        ServiceReplaced { again_s: config.again_s, told: Memory::new(&TOLD, config.told_max) }
    }
}

impl Detect for ServiceReplaced {
    fn detector(&self) -> DetectorId {
        &DETECTOR
    }

    fn judge(&mut self, change: &Change, world: &World<'_>, out: &mut Vec<Finding>) -> Verdict {
        let (service, app) = match &change.what {
            What::ServiceApp { service, now, .. } => (service, Some(now)),
            What::ServiceStack { service, .. } => (service, None),
            _ => return Verdict::Learn,
        };
        let Some(learned) = world.baselines.service(service) else { return Verdict::Learn };
        if !world.baselines.judges(service.vm, Feature::Services, change.time) {
            return Verdict::Learn;
        }
        let replaced = match &change.what {
            What::ServiceApp { now, .. } => learned.identity.replaced_by(now, world.baselines.definitions()),
            What::ServiceStack { stack, .. } => learned.identity.stack_replaced_by(*stack).into_iter().collect(),
            _ => Vec::new(),
        };
        if replaced.is_empty() {
            return Verdict::Learn;
        }
        let proto = app.map(|app| app.proto.clone()).or_else(|| world.app(service));
        if world.sanctions.covers(service, proto.as_ref(), change.time).is_some() {
            return Verdict::Withhold;
        }
        let values: Vec<String> = replaced.iter().map(|r| r.now.clone()).collect();
        let told = self
            .told
            .get(service)
            .is_some_and(|(at, before)| *before == values && change.time.since_s(*at) < self.again_s as f64);
        if told {
            return Verdict::Withhold;
        }
        self.told.insert(*service, (change.time, values), change.time);

        let severity = if replaced.iter().any(|r| severity(r.aspect) == Severity::High) {
            Severity::High
        } else {
            Severity::Medium
        };
        let mut finding = world.finding(&DETECTOR, severity, change, service.vm);
        let port = format!("{}/{}", service.transport, service.port);
        let first = replaced.first().map(|r| r.aspect.to_string()).unwrap_or_default();
        finding.title = format!("another {first} on {port} of {}", finding.vm_label);
        let changes: Vec<String> =
            replaced.iter().map(|r| format!("{} was {}, is {}", r.aspect, r.before.join(" or "), r.now)).collect();
        finding.reason = format!(
            "{port} of {} answers as another {}: {}; {} flows since {} showed nothing else",
            finding.vm_label,
            if app.is_some() { "program" } else { "system" },
            changes.join("; "),
            learned.uses,
            learned.first_seen.short(),
        );
        finding.service = Some((service.transport, service.port, proto));
        // What is put in front of many at once (a balancer, a firewall that answers) is one story.
        finding.fold = app.is_none().then(|| "another TCP/IP stack".to_owned());
        finding.peer = change.flow.as_ref().map(|f| (None, f.orig.ip));
        let facts = replaced.iter().map(|r| (r.aspect.to_string(), r.now.clone())).collect();
        finding.evidence = Evidence { frames: frames(change.flow.as_ref(), &[change.frame]), facts };
        out.push(finding);
        Verdict::Withhold
    }

    fn merged(&mut self, _kept: VmId, gone: VmId) {
        self.told.forget(|key| key.vm == gone);
    }

    fn save(&mut self, batch: &mut Batch) {
        self.told.save(batch);
    }

    fn load(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        self.told.load(store)
    }

    fn report(&self, out: &mut Vec<(&'static str, u64)>) {
        out.push(("detect.service-replaced.evicted", self.told.evicted()));
    }
}

/// Another application, product or host key is another program (or another machine); an issuer or an offer may be
/// the work of an administrator, and another stack that of whoever put something in front.
fn severity(aspect: Aspect) -> Severity {
    match aspect {
        Aspect::Application | Aspect::ProductFamily | Aspect::HostKey => Severity::High,
        Aspect::KeyExchange | Aspect::Issuer | Aspect::Stack | Aspect::Interface => Severity::Medium,
    }
}

#[cfg(test)]
mod tests {
    use super::super::world::{Lab, app, key, vm};
    use super::*;
    use crate::baseline::Mode;
    use crate::model::Stack;

    fn lab() -> Lab {
        let mut lab = Lab::new(Mode::Auto);
        lab.ripen(vm(1));
        lab.learn_app(key(1, 443), app("ssh", "OpenSSH", "9.2"));
        lab
    }

    fn now_speaks(lab: &mut Lab, proto: &'static str, product: &str, version: &str) -> Vec<Finding> {
        lab.see(What::ServiceApp { service: key(1, 443), before: None, now: Box::new(app(proto, product, version)) })
    }

    #[test]
    fn another_product_on_a_learned_port_is_a_finding_told_once() {
        let mut lab = lab();
        let found = now_speaks(&mut lab, "ssh", "dropbear", "2022");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].severity, Severity::High);
        assert!(found[0].reason.contains("was openssh, is dropbear"), "{}", found[0].reason);
        assert!(now_speaks(&mut lab, "ssh", "dropbear", "2022").is_empty());
        // It was not learned from: the old program is still what is normal.
        assert!(now_speaks(&mut lab, "ssh", "OpenSSH", "9.2").is_empty());
    }

    #[test]
    fn an_upgrade_is_not() {
        assert!(now_speaks(&mut lab(), "ssh", "OpenSSH", "9.8").is_empty());
    }

    fn answers_as(lab: &mut Lab, stack: Stack) -> Vec<Finding> {
        lab.see(What::ServiceStack { service: key(1, 443), stack })
    }

    #[test]
    fn another_familys_stack_is_a_medium_finding_told_once_and_not_learned() {
        let mut lab = lab();
        assert!(answers_as(&mut lab, Stack::Linux).is_empty(), "nothing was known of it");
        let found = answers_as(&mut lab, Stack::Windows);
        assert_eq!((found.len(), found[0].severity), (1, Severity::Medium));
        assert!(found[0].reason.contains("TCP/IP stack was linux, is windows"), "{}", found[0].reason);
        assert!(answers_as(&mut lab, Stack::Windows).is_empty());
        assert!(answers_as(&mut lab, Stack::Linux).is_empty(), "the old one is still what is normal");
    }

    #[test]
    fn behind_a_balancer_with_two_stacks_a_third_is_none() {
        let mut lab = Lab::new(Mode::Auto);
        lab.serve(key(1, 443), 2);
        lab.see(What::ServiceStack { service: key(1, 443), stack: Stack::Linux });
        lab.see(What::ServiceStack { service: key(1, 443), stack: Stack::Windows });
        lab.ripen(vm(1));
        assert!(answers_as(&mut lab, Stack::Bsd).is_empty());
    }

    #[test]
    fn another_port_of_the_same_vm_may_have_another_stack() {
        let mut lab = lab();
        lab.serve(key(1, 8_080), 40);
        answers_as(&mut lab, Stack::Linux);
        assert!(lab.see(What::ServiceStack { service: key(1, 8_080), stack: Stack::Bsd }).is_empty());
    }

    #[test]
    fn nor_is_a_replacement_that_was_sanctioned_or_while_learning() {
        let mut lab = lab();
        lab.sanction(vm(1), Some((crate::model::Transport::Tcp, 443)));
        assert!(now_speaks(&mut lab, "http", "nginx", "1").is_empty());
        let mut young = Lab::new(Mode::Auto);
        young.serve(key(1, 443), 4);
        young.learn_app(key(1, 443), app("ssh", "OpenSSH", "9.2"));
        assert!(now_speaks(&mut young, "http", "nginx", "1").is_empty());
    }
}
