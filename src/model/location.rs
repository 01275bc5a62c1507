//! Where a copy of a frame was taken: the mirror path as far as it hints at a host. Never part of a key.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::addr::Mac;
use super::mirror::{MirrorPath, PathKind};
use super::segment::Segment;

/// Two copies from one location were taken on one host. The mirrored port is left out: a VM has another one after each
/// start. So is the mirror source, whose number holds for one run only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Location {
    /// Outermost tunnel's sender: the host that mirrored or encapsulated the frame.
    pub host: Option<IpAddr>,
    pub kind: PathKind,
    /// ERSPAN session, VNI, GRE key or RSPAN VLAN of the mirror.
    pub id: u32,
}

impl Location {
    /// `None` where nothing tells hosts apart: the frame itself was captured.
    pub fn of(host_hint: Option<IpAddr>, path: MirrorPath) -> Option<Self> {
        let MirrorPath { kind, id, .. } = path;
        (host_hint.is_some() || kind != PathKind::Wire).then_some(Location { host: host_hint, kind, id })
    }
}

/// `10.9.9.1`, `10.9.9.1 erspan:77`, `vlan:900`.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = MirrorPath::new(self.kind, self.id);
        match self.host {
            Some(host) if self.kind == PathKind::Wire => host.fmt(f),
            Some(host) => write!(f, "{host} {path}"),
            None => path.fmt(f),
        }
    }
}

/// Frames from one MAC to another that one location showed within one packet second, twins of other locations not
/// left out: that two hosts show the same frames is what tells the sender's host from the receiver's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    pub from: Mac,
    /// A group address stands for itself: every host shows a copy of such frames.
    pub to: Mac,
    pub segment: Segment,
    pub location: Location,
    pub frames: u32,
}
