//! One capture through the pipeline of `read`, in process, with a store in memory and every host at home.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use eastwatch::brain::{Brain, BrainConfig, Teller};
use eastwatch::capture::Files;
use eastwatch::config::Config;
use eastwatch::deliver::Eve;
use eastwatch::model::ServiceClass;
use eastwatch::runtime::shard::ShardLimits;
use eastwatch::runtime::{Plan, mailbox, run};
use eastwatch::store::MemoryStore;

use serde_json::Value;

use super::Key;
use super::truth::key;

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

/// What came out of one capture.
pub struct Outcome {
    /// In the inventory's order.
    pub services: Vec<Found>,
    /// Application protocols of the flows that have this end, as the `flow` events of EVE tell them.
    pub flow_apps: BTreeMap<Key, BTreeSet<String>>,
    /// The same by flow, `-` for none.
    pub flows: BTreeMap<FlowEnds, BTreeSet<String>>,
}

/// Transport in lower case and both ends, the lower one first: the same for either direction.
pub type FlowEnds = (String, SocketAddr, SocketAddr);

pub fn flow_ends(transport: String, one: SocketAddr, other: SocketAddr) -> FlowEnds {
    (transport, one.min(other), one.max(other))
}

/// A capture that is cut short is read to the cut.
pub fn read(file: &Path) -> Result<Outcome, String> {
    let mut config = Config::default();
    config.networks.home = "0.0.0.0/0,::/0".parse().map_err(|e| format!("{e:?}"))?;
    let wanted = BrainConfig { flows: true, ..config.brain() };
    let mut brain = Brain::load(Box::new(MemoryStore::new()), wanted).map_err(|e| e.to_string())?;
    brain.tell(Teller::new(Some(Eve::memory())));
    let mut source = Files::open(&[file.to_owned()], None).map_err(|e| e.to_string())?;
    let plan = Plan {
        workers: 1,
        decode: config.decode.clone(),
        limits: ShardLimits::default(),
        definitions: Default::default(),
        seed: 1,
        full_ends: true,
        disk_full: Default::default(),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let mut outcome = run(&plan, &mut source, brain, mailbox(), &stop, |_, _, _| None)?;
    let inventory = &outcome.brain.inventory;
    let announced = inventory.transfers().map(|transfer| transfer.service);
    let services = inventory.services().cloned().chain(announced).map(|service| Found {
        key: (service.ip, service.key.transport.to_string(), service.key.port),
        app: service.app.as_ref().map(|app| app.proto.to_string()),
        product: service.app.as_ref().and_then(|app| app.product.clone()),
        class: service.class,
        midstream: service.basis.sight == eastwatch::inventory::Sight::Midstream,
        evidence: service.evidence.clone(),
    });
    let services = services.collect();
    let eve = outcome.brain.teller().eve().map(|eve| eve.bytes().to_vec()).unwrap_or_default();
    let (flow_apps, flows) = flow_apps(&eve)?;
    Ok(Outcome { services, flow_apps, flows })
}

type FlowApps = (BTreeMap<Key, BTreeSet<String>>, BTreeMap<FlowEnds, BTreeSet<String>>);

fn flow_apps(eve: &[u8]) -> Result<FlowApps, String> {
    let mut apps: BTreeMap<Key, BTreeSet<String>> = BTreeMap::new();
    let mut flows: BTreeMap<FlowEnds, BTreeSet<String>> = BTreeMap::new();
    for line in eve.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let event: Value = serde_json::from_slice(line).map_err(|e| format!("EVE: {e}"))?;
        if event["event_type"] != "flow" {
            continue;
        }
        let proto = event["proto"].as_str().unwrap_or_default().to_lowercase();
        let end = |ip, port: &str| key(event[ip].as_str().unwrap_or_default(), &proto, &event[port].to_string());
        let app = event["app_proto"].as_str();
        if event["src_port"].is_u64() {
            let (src, dest) = (end("src_ip", "src_port")?, end("dest_ip", "dest_port")?);
            let ends = flow_ends(proto.clone(), (src.0, src.2).into(), (dest.0, dest.2).into());
            flows.entry(ends).or_default().insert(app.unwrap_or("-").to_owned());
            for end in [src, dest] {
                if let Some(app) = app {
                    apps.entry(end).or_default().insert(app.to_owned());
                }
            }
        }
    }
    Ok((apps, flows))
}
