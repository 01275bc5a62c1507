//! Whose bytes count where TCP segments overlap: the receiver's system decides.
//!
//! The rules are those of Novak and Sturges, "Target-Based TCP Stream Reassembly" (2007), by systems as Suricata groups
//! them. They are about bytes that the receiver has not handed to its application: what is acknowledged stays.

use super::reassembly::ahead;
use crate::decode::HostOs;

/// Do the bytes of a segment that came later replace those of an earlier one? Each is (first, one past last).
pub(super) fn later_segment_counts(os: HostOs, later: (u32, u32), earlier: (u32, u32)) -> bool {
    let (starts, ends) = (ahead(later.0, earlier.0), ahead(later.1, earlier.1));
    match os {
        HostOs::First | HostOs::Vista | HostOs::OldSolaris | HostOs::BsdRight => false,
        HostOs::Last => true,
        HostOs::Bsd | HostOs::Hpux10 | HostOs::Irix | HostOs::Macos | HostOs::Windows | HostOs::Windows2k3 => {
            starts < 0
        }
        HostOs::Linux | HostOs::ModernLinux => starts < 0 || starts == 0 && ends > 0,
        HostOs::OldLinux => starts < 0 || starts == 0 && ends >= 0,
        HostOs::Solaris | HostOs::Hpux11 => ends > 0 || starts <= 0 && ends == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Later segments against an earlier one at 10..20: before and into it, before and over it, before and as far,
    /// its copy, from its start and beyond, from its start and shorter, within it, from within and as far, and beyond.
    const LATER: [(u32, u32); 9] =
        [(5, 15), (5, 25), (5, 20), (10, 20), (10, 25), (10, 15), (12, 18), (15, 20), (15, 25)];

    #[test]
    fn each_system_has_its_row_of_the_table() {
        for (os, row) in [
            (HostOs::First, "........."),
            (HostOs::Vista, "........."),
            (HostOs::Last, "XXXXXXXXX"),
            (HostOs::Bsd, "XXX......"),
            (HostOs::Windows, "XXX......"),
            (HostOs::Linux, "XXX.X...."),
            (HostOs::OldLinux, "XXXXX...."),
            (HostOs::Solaris, ".XXXX...X"),
        ] {
            // Twice: in the middle of the sequence space and across its end.
            for base in [1000, u32::MAX - 12] {
                let at = |(from, to): (u32, u32)| (base.wrapping_add(from), base.wrapping_add(to));
                let counts = |later| if later_segment_counts(os, at(later), at((10, 20))) { 'X' } else { '.' };
                assert_eq!(LATER.map(counts).iter().collect::<String>(), row, "{os:?}");
            }
        }
    }
}
