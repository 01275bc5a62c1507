//! Baselines as records of the store: one for the site, one a profile, one a learned service, one a peer edge, so
//! that a use rewrites a few dozen bytes and not a profile.

use serde::Serialize;

use super::collection::{Baselines, Dirty, Site};
use super::forgotten::Forgotten;
use super::profile::{LearnedPeer, LearnedService, Port, Profile};
use super::role::Roles;
use super::volume::Volumes;
use super::{BaselineConfig, Sanctions};
use crate::model::VmId;
use crate::store::{Batch, Kind, Store, StoreError};

static SITE: Kind = Kind { tag: 0x20, name: "site baseline", version: 1 };
static PROFILE: Kind = Kind { tag: 0x21, name: "VM baseline", version: 2 };
static SERVICE: Kind = Kind { tag: 0x22, name: "learned service", version: 3 };
static PEER: Kind = Kind { tag: 0x23, name: "learned peer", version: 3 };
static SANCTION: Kind = Kind { tag: 0x24, name: "sanction", version: 1 };

impl Baselines {
    pub fn load(store: &dyn Store, config: BaselineConfig) -> Result<Self, StoreError> {
        let mut loaded = Baselines::new(config);
        for (_, body) in store.scan(&SITE)? {
            loaded.site = SITE.read::<Site>(&body)?;
        }
        for (_, body) in store.scan(&PROFILE)? {
            let (vm, profile) = PROFILE.read::<(VmId, Profile)>(&body)?;
            loaded.profiles.insert(vm, profile);
        }
        // What a record is of stands in its id alone: there are ten of these a VM and more.
        for (id, body) in store.scan(&SERVICE)? {
            let (vm, port) = SERVICE.read::<(VmId, Port)>(&id)?;
            if let Some(profile) = loaded.profiles.get_mut(&vm) {
                profile.services.insert(port, SERVICE.read::<LearnedService>(&body)?);
            }
        }
        for (id, body) in store.scan(&PEER)? {
            let (client, server, port) = PEER.read::<(VmId, VmId, Port)>(&id)?;
            let peer = PEER.read::<LearnedPeer>(&body)?;
            if let Some(profile) = loaded.profiles.get_mut(&client) {
                profile.peers.insert((server, port), peer);
            }
        }
        loaded.profiles.values_mut().for_each(Profile::recount);
        loaded.volumes = Volumes::load(store, loaded.config.vms_max)?;
        loaded.forgotten = Forgotten::load(store)?;
        loaded.roles = Roles::load(store)?;
        loaded.roles.recount(&loaded.profiles);
        Ok(loaded)
    }

    /// Writes what changed since the last call.
    pub fn save(&mut self, batch: &mut Batch) {
        self.roles.save(batch);
        self.forgotten.save(batch);
        for dirty in std::mem::take(&mut self.dirty) {
            match dirty {
                Dirty::Site => batch.put(&SITE, b"site", &self.site),
                Dirty::Head(vm) => {
                    let profile = self.profiles.get(&vm);
                    put_or_delete(batch, &PROFILE, &vm, profile.map(|p| (vm, p)));
                }
                Dirty::Service(vm, port) => {
                    let service = self.profiles.get(&vm).and_then(|p| p.services.get(&port));
                    put_or_delete(batch, &SERVICE, &(vm, port), service);
                }
                Dirty::Peer(client, server, port) => {
                    let peer = self.profiles.get(&client).and_then(|p| p.peers.get(&(server, port)));
                    put_or_delete(batch, &PEER, &(client, server, port), peer);
                }
            }
        }
    }
}

impl Sanctions {
    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let mut loaded = Sanctions::default();
        for (_, body) in store.scan(&SANCTION)? {
            loaded.restore(SANCTION.read(&body)?);
        }
        Ok(loaded)
    }

    /// Writes what changed since the last call.
    pub fn save(&mut self, batch: &mut Batch) {
        for key in self.take_dirty() {
            let sanction = self.get(&key);
            put_or_delete(batch, &SANCTION, &key, sanction);
        }
    }
}

fn put_or_delete<K: Serialize, V: Serialize>(batch: &mut Batch, kind: &'static Kind, key: &K, value: Option<V>) {
    // A key of plain numbers and text always serialises; were it ever not so, the record would be left as it was.
    let Ok(id) = postcard::to_stdvec(key) else { return };
    match value {
        Some(value) => batch.put(kind, &id, &value),
        None => batch.delete(kind, &id),
    }
}
