//! Where a copy of a frame was taken: the mirror path as far as it hints at a host. Never part of a key.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::addr::Mac;
use super::interface::Interface;
use super::mirror::{MirrorPath, PathKind};
use super::segment::Segment;

/// Two copies from one location were taken on one host. The mirrored port is 0 unless it is what is asked about: on a
/// virtual switch a VM has another one after each start. So is the number of the mirror source, which holds for one run only; where nothing else tells hosts apart and
/// there are several, its interface's name counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Location {
    /// Outermost tunnel's sender: the host that mirrored or encapsulated the frame.
    pub host: Option<IpAddr>,
    pub kind: PathKind,
    /// ERSPAN session, VNI, GRE key or RSPAN VLAN of the mirror.
    pub id: u32,
    /// ERSPAN's mirrored port.
    pub port: u32,
    /// Only without host and path.
    pub interface: Option<Interface>,
}

impl Location {
    /// `None` where nothing tells hosts apart: the frame itself was captured.
    pub fn of(host_hint: Option<IpAddr>, path: MirrorPath) -> Option<Self> {
        let MirrorPath { kind, id, .. } = path;
        (host_hint.is_some() || kind != PathKind::Wire).then_some(Location {
            host: host_hint,
            kind,
            id,
            port: 0,
            interface: None,
        })
    }

    /// Where frames come as they are, and this is one of several interfaces.
    pub fn by(interface: Interface) -> Self {
        Location { host: None, kind: PathKind::Wire, id: 0, port: 0, interface: Some(interface) }
    }

    /// The same, by the port where the copy was made.
    #[must_use]
    pub fn at_port(self, port: u32) -> Self {
        Location { port, ..self }
    }
}

/// `10.9.9.1`, `10.9.9.1 erspan:77`, `vlan:900`, `interface eth1`.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut path = MirrorPath::new(self.kind, self.id);
        path.port = self.port;
        if let Some(interface) = self.interface {
            return write!(f, "interface {interface}");
        }
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
    /// ERSPAN's mirrored port of frames to one receiver; 0 where none is told, and of those to a group.
    pub port: u32,
    pub frames: u32,
}
