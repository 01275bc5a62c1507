//! Stack: the family of TCP/IP implementations that a SYN-ACK is of.

use std::fmt;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stack {
    Linux,
    Windows,
    /// The BSDs and what is made of them (macOS, appliances).
    Bsd,
    /// Begins at a TTL above 128, as routers and Solaris do.
    Device,
}

impl Stack {
    pub const ALL: [Stack; 4] = [Stack::Linux, Stack::Windows, Stack::Bsd, Stack::Device];

    pub fn as_str(self) -> &'static str {
        match self {
            Stack::Linux => "linux",
            Stack::Windows => "windows",
            Stack::Bsd => "bsd",
            Stack::Device => "device",
        }
    }
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
