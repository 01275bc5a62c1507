//! Mark: how a frame asks to be treated on its way. DSCP (RFC 2474) and 802.1p priority (802.1Q 6.9.3).

use std::fmt;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    /// 0–63; ECN left out.
    pub dscp: u8,
    /// 0–7 of the innermost tag; 0 is best effort, as without a tag.
    pub pcp: u8,
}

impl Mark {
    /// From IPv4's TOS or IPv6's traffic class, and a tag's priority.
    pub fn read(tos: u8, pcp: u8) -> Self {
        Mark { dscp: tos >> 2, pcp }
    }
}

/// `DSCP 46, 802.1p 5`.
impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DSCP {}", self.dscp)?;
        match self.pcp {
            0 => Ok(()),
            pcp => write!(f, ", 802.1p {pcp}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn congestion_bits_are_no_part_of_a_mark() {
        assert_eq!(Mark::read(0xb8 | 3, 5).to_string(), "DSCP 46, 802.1p 5");
        assert_eq!(Mark::read(3, 0).to_string(), "DSCP 0");
        assert_eq!(Mark::read(0, 0), Mark::default());
    }
}
