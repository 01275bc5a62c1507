//! Adverts: what a station says of itself to its neighbour on the link (LLDP, CDP). Untrusted: it hints at who is
//! there and identifies nobody.
//!
//! Each text is escaped and of at most 256 bytes.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::addr::Mac;
use super::location::Location;
use super::segment::Segment;

/// The protocol of an advert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdvertBy {
    Lldp,
    Cdp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkAdvert {
    pub by: AdvertBy,
    pub segment: Segment,
    /// Who sent the frame: the port's own MAC.
    pub mac: Mac,
    /// Where its copy was taken, where that hints at a host.
    pub location: Option<Location>,
    /// What the system calls itself; empty where it does not.
    pub system: String,
    pub chassis: String,
    pub port: String,
    pub port_description: String,
    /// Where it is managed.
    pub address: Option<IpAddr>,
    /// It goes.
    pub goodbye: bool,
}

impl fmt::Display for AdvertBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AdvertBy::Lldp => "LLDP",
            AdvertBy::Cdp => "CDP",
        })
    }
}
