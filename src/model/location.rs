//! Where a copy of a frame was taken: the mirror path as far as it hints at a host. Never part of a key.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::addr::Mac;
use super::segment::Segment;

/// Two copies from one location were taken on one host. Grows by what else tells hosts apart (ERSPAN session, capture
/// interface).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Location {
    /// Outermost tunnel's sender: the host that mirrored or encapsulated the frame.
    pub host: IpAddr,
}

impl Location {
    /// `None` where the mirror came without a tunnel: then nothing tells hosts apart.
    pub fn of(host_hint: Option<IpAddr>) -> Option<Self> {
        host_hint.map(|host| Location { host })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.fmt(f)
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
