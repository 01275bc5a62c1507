//! One capture through the pipeline of `read`, in process, with a store in memory and every host at home.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use eastwatch::brain::Brain;
use eastwatch::capture::Files;
use eastwatch::config::Config;
use eastwatch::model::ServiceClass;
use eastwatch::runtime::shard::ShardLimits;
use eastwatch::runtime::{Plan, mailbox, run};
use eastwatch::store::MemoryStore;

use super::Key;

/// A service as the inventory has it.
#[derive(Clone, Debug)]
pub struct Found {
    pub key: Key,
    pub app: Option<String>,
    pub product: Option<String>,
    pub class: ServiceClass,
    /// Its first flow began before the capture did.
    pub midstream: bool,
    pub evidence: String,
}

/// Every service that the pipeline finds in a capture, in the inventory's order. A capture that is cut short is
/// read to the cut.
pub fn services_of(file: &Path) -> Result<Vec<Found>, String> {
    let mut config = Config::default();
    config.networks.home = "0.0.0.0/0,::/0".parse().map_err(|e| format!("{e:?}"))?;
    let brain = Brain::load(Box::new(MemoryStore::new()), config.brain()).map_err(|e| e.to_string())?;
    let mut source = Files::open(&[file.to_owned()], None).map_err(|e| e.to_string())?;
    let plan =
        Plan { workers: 1, decode: config.decode.clone(), limits: ShardLimits::default(), seed: 1, full_ends: true };
    let stop = Arc::new(AtomicBool::new(false));
    let outcome = run(&plan, &mut source, brain, mailbox(), &stop, |_, _, _| None)?;
    let services = outcome.brain.inventory.services().map(|service| Found {
        key: (service.ip, service.key.transport.to_string(), service.key.port),
        app: service.app.as_ref().map(|app| app.proto.to_string()),
        product: service.app.as_ref().and_then(|app| app.product.clone()),
        class: service.class,
        midstream: service.basis.midstream,
        evidence: service.evidence.clone(),
    });
    Ok(services.collect())
}
