//! The mirror path: what carried the copy of a packet. It hints at the host that a VM runs on and tells observation
//! points apart; it is never part of a key.
//!
//! One small value a packet; of paths within paths the outermost is kept.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::segment::LayerKind;

/// What kind of transport it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum PathKind {
    /// The frame itself was captured.
    #[default]
    Wire,
    Erspan,
    Tzsp,
    /// Tunnels that end at a listener, or of which `[[mirror]]` says that they are path.
    Vxlan,
    Geneve,
    Gre,
    /// RSPAN.
    Vlan,
}

/// Which way the mirrored port saw the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    #[default]
    Unknown,
    /// The port received it: its VM sent it.
    Ingress,
    /// The port sent it: it went to its VM.
    Egress,
}

/// Twelve bytes, because every packet carries one to its worker. The outer sender stands beside it (`host_hint`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MirrorPath {
    /// ERSPAN session, VNI, GRE key or RSPAN VLAN; 0 where the transport has none.
    pub id: u32,
    /// The mirrored port, as the switch numbers it (ERSPAN); 0 where it is not told.
    pub port: u32,
    /// The mirror source, numbered from 0 within one run.
    pub source: u16,
    pub kind: PathKind,
    /// ERSPAN III: engine in the upper six bits, direction and whether it is known in the lower two.
    engine: u8,
}

impl MirrorPath {
    pub fn new(kind: PathKind, id: u32) -> Self {
        MirrorPath { kind, id, ..MirrorPath::default() }
    }

    /// As ERSPAN III tells it: hardware id (6 bits), and whether the copy was made on egress.
    #[must_use]
    pub fn by_engine(self, hardware: u8, egress: bool) -> Self {
        MirrorPath { engine: hardware << 2 | 2 | u8::from(egress), ..self }
    }

    /// ERSPAN III's hardware id, which tells the engines of one switch apart.
    pub fn hardware(&self) -> u8 {
        self.engine >> 2
    }

    pub fn direction(&self) -> Direction {
        match self.engine & 3 {
            2 => Direction::Ingress,
            3 => Direction::Egress,
            _ => Direction::Unknown,
        }
    }
}

/// `-`, `erspan:77`, `erspan:77 port 12 egress`, `tzsp`, `vxlan:9001`, `gre:0x1f`, `vlan:900`.
impl fmt::Display for MirrorPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            PathKind::Wire => f.write_str("-")?,
            PathKind::Tzsp => f.write_str("tzsp")?,
            PathKind::Erspan => write!(f, "erspan:{}", self.id)?,
            PathKind::Vxlan => write!(f, "vxlan:{}", self.id)?,
            PathKind::Geneve => write!(f, "geneve:{}", self.id)?,
            PathKind::Gre => write!(f, "gre:{:#x}", self.id)?,
            PathKind::Vlan => write!(f, "vlan:{}", self.id)?,
        }
        if self.port != 0 {
            write!(f, " port {}", self.port)?;
        }
        match self.direction() {
            Direction::Unknown => Ok(()),
            Direction::Ingress => f.write_str(" ingress"),
            Direction::Egress => f.write_str(" egress"),
        }
    }
}

/// Tunnels that are taken for segments, and go one way into one address: perhaps the mirror's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneWayTunnel {
    pub kind: LayerKind,
    /// The first sender; with `several` there are others.
    pub sender: IpAddr,
    pub several: bool,
    pub receiver: IpAddr,
    pub frames: u64,
}

impl OneWayTunnel {
    /// What in the configuration decides it.
    pub fn mend(&self) -> String {
        let key = if self.kind == LayerKind::Gre { "gre_key" } else { "vni" };
        format!("[[mirror]] with outer_dst = \"{}\" and {key} = \"path\" (or \"segment\")", self.receiver)
    }
}

/// `12431 vxlan frames from 10.9.9.1 and others into 10.9.9.9, none back`.
impl fmt::Display for OneWayTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others = if self.several { " and others" } else { "" };
        let OneWayTunnel { kind, sender, receiver, frames, .. } = self;
        write!(f, "{frames} {} frames from {sender}{others} into {receiver}, none back", kind.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_small_and_keeps_apart_what_it_is_told() {
        assert_eq!(size_of::<MirrorPath>(), 12);
        let path = MirrorPath { port: 12, ..MirrorPath::new(PathKind::Erspan, 77) };
        assert_eq!((path.hardware(), path.direction()), (0, Direction::Unknown));
        for (egress, direction) in [(false, Direction::Ingress), (true, Direction::Egress)] {
            let path = path.by_engine(63, egress);
            assert_eq!((path.hardware(), path.direction()), (63, direction));
        }
    }

    #[test]
    fn paths_are_written_as_segments_are() {
        let erspan = MirrorPath { port: 12, ..MirrorPath::new(PathKind::Erspan, 77) };
        let gre = MirrorPath::new(PathKind::Gre, 31);
        let written = [erspan.by_engine(1, true), erspan, gre, MirrorPath::default()].map(|path| path.to_string());
        assert_eq!(written, ["erspan:77 port 12 egress", "erspan:77 port 12", "gre:0x1f", "-"]);
    }
}
