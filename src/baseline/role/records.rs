//! Roles as records of the store: one a role, one a seat.

use super::{Dirty, Role, Roles, Seat};
use crate::model::{RoleId, VmId};
use crate::store::{Batch, Kind, Store, StoreError};

static ROLE: Kind = Kind { tag: 0x25, name: "role", version: 1 };
static SEAT: Kind = Kind { tag: 0x26, name: "seat in a role", version: 1 };

impl Roles {
    /// Members' ports are counted by the caller, who has the profiles.
    pub(in crate::baseline) fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let mut loaded = Roles::default();
        for (_, body) in store.scan(&ROLE)? {
            let (id, role) = ROLE.read::<(RoleId, Role)>(&body)?;
            loaded.roles.insert(id, role);
        }
        for (_, body) in store.scan(&SEAT)? {
            let (vm, seat) = SEAT.read::<(VmId, Seat)>(&body)?;
            if let Some(role) = loaded.roles.get_mut(&seat.role) {
                role.members.insert(vm);
                loaded.seats.insert(vm, seat);
            }
        }
        Ok(loaded)
    }

    /// Writes what changed since the last call.
    pub(in crate::baseline) fn save(&mut self, batch: &mut Batch) {
        for dirty in std::mem::take(&mut self.dirty) {
            match dirty {
                Dirty::Role(id) => match self.roles.get(&id) {
                    Some(role) => batch.put(&ROLE, &id.raw().to_be_bytes(), &(id, role)),
                    None => batch.delete(&ROLE, &id.raw().to_be_bytes()),
                },
                Dirty::Seat(vm) => match self.seats.get(&vm) {
                    Some(seat) => batch.put(&SEAT, &vm.raw().to_be_bytes(), &(vm, seat)),
                    None => batch.delete(&SEAT, &vm.raw().to_be_bytes()),
                },
            }
        }
    }
}
