//! Familiar: is a service that is neither learned nor approved one more of something known? A dynamic port of RPC whose
//! interfaces the VM offered before; what others of its role serve to the same client. What only the payload can decide
//! is waited for, [`PATIENCE_NS`] after the server's first bytes. Nothing is kept.

use super::{Seen, World};
use crate::model::{AppInfo, ServiceKey, Transport, VmId};

/// The receiver has to acknowledge the server's bytes before they are read (docs/design.md): a round trip on any
/// network that a hypervisor has, and far less than the second in which a back door is told.
pub(super) const PATIENCE_NS: i64 = 20_000_000;

/// Protocols by which machines hand the same content to their likes, each both server and client. They give no control,
/// both ends have to speak them, and whoever begins has company within the day in which the content goes round.
const SHARING: &[&str] = &["msdo"];
/// Where they are at home: a reason to wait for the payload's word, and for nothing else.
const SHARING_PORTS: &[u16] = &[7_680];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Familiar {
    /// It is no news.
    Known,
    /// Its payload is still to say.
    Perhaps,
    No,
}

/// Does this application hand content from like to like?
pub(super) fn is_sharing(app: &AppInfo) -> bool {
    SHARING.contains(&app.proto.as_str())
}

/// What `service` is to this VM, where `client` uses it.
pub(super) fn look(key: &ServiceKey, seen: &Seen<'_>, client: Option<VmId>, world: &World<'_>) -> Familiar {
    let baselines = world.baselines;
    if seen.app.is_some_and(|app| baselines.is_known_interface(key, app)) {
        return Familiar::Known;
    }
    if client.is_some_and(|client| baselines.is_served_to(client, key)) {
        return match seen.app {
            Some(app) if baselines.contradicts_role(key, app) => Familiar::No,
            None if baselines.role_speaks(key) && key.transport == Transport::Tcp => Familiar::Perhaps,
            None if baselines.role_speaks(key) => Familiar::No,
            _ => Familiar::Known,
        };
    }
    let may_be = baselines.serves_interfaces(key.vm, key.port) || SHARING_PORTS.contains(&key.port);
    match seen.app {
        None if key.transport == Transport::Tcp && may_be => Familiar::Perhaps,
        _ => Familiar::No,
    }
}

#[cfg(test)]
#[path = "familiar_tests.rs"]
mod tests;
