//! Interface: the name of a capture interface, small enough to be copied with every location. Sixteen bytes; of a
//! longer name the beginning and a hash of the whole are kept.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::app::AppInfo;
use super::ids::stable_hash;

/// Linux allows 15 bytes (IFNAMSIZ); Windows and capture files allow any.
const BYTES: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Interface([u8; BYTES]);

impl Interface {
    /// The name comes from a capture file or the system and is escaped; an empty one is none.
    pub fn new(name: &str) -> Option<Self> {
        let clean = AppInfo::clean(name.as_bytes());
        let short = if clean.len() <= BYTES {
            clean
        } else {
            let kept = (0..=BYTES - 9).rev().find_map(|end| clean.get(..end)).unwrap_or_default();
            format!("{kept}~{:08x}", stable_hash(&[name.as_bytes()]) as u32)
        };
        let mut bytes = [0; BYTES];
        bytes.iter_mut().zip(short.bytes()).for_each(|(slot, byte)| *slot = byte);
        (!short.is_empty()).then_some(Interface(bytes))
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.split(|byte| *byte == 0).next().unwrap_or_default();
        f.write_str(std::str::from_utf8(name).unwrap_or("?"))
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A mirror source that is one of several interfaces, each perhaps the mirror of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureInterface {
    pub name: Interface,
    /// Some of its frames were copies of what another observation point showed. The mirrors of two hosts share what
    /// is flooded and what their VMs say to each other; a tap's two directions and the halves of a bond share nothing.
    pub shares: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_whole_where_they_fit_and_apart_where_they_do_not() {
        let shown = |name: &str| Interface::new(name).map(|name| name.to_string());
        assert_eq!(shown("eth1").as_deref(), Some("eth1"));
        assert_eq!(shown("enp130s0f1np1_16").as_deref(), Some("enp130s0f1np1_16"));
        let (a, b) = (shown(r"\Device\NPF_{AAAA}"), shown(r"\Device\NPF_{AAAB}"));
        assert!(a != b && a.as_ref().is_some_and(|a| a.len() == 16 && a.starts_with(r"\Device~")), "{a:?} {b:?}");
        assert_eq!(shown(""), None);
        assert_eq!(shown("\x1b[2J").as_deref(), Some("\\u{1b}[2J"));
        assert!(shown("äöüäöüäöüäöü").is_some_and(|name| name.len() <= 16 && name.starts_with("äöü~")));
    }
}
