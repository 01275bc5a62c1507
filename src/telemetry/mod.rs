//! Counters: everything dropped, refused or evicted is counted under a stable dotted name.
//!
//! A room declares its own counters with [`counters!`]; there is no central list. Counters depend on the input
//! only, so they are the same whatever the number of workers; queue depths and timings do not belong here.

/// Declares a struct of `u64` counters, each with the dotted name that `stats` shows.
///
/// ```ignore
/// counters! { pub struct DecodeCounters { packets => "decode.packets", short => "decode.discard.short" } }
/// ```
#[macro_export]
macro_rules! counters {
    ($(#[$doc:meta])* $vis:vis struct $name:ident { $($(#[$field_doc:meta])* $field:ident => $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        $vis struct $name { $($(#[$field_doc])* pub $field: u64),* }

        impl $name {
            /// Adds what another part of the same work counted.
            #[allow(dead_code)]
            pub fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
            }

            /// Name and value of each counter that is not zero.
            pub fn report(&self, out: &mut Vec<(&'static str, u64)>) {
                $(if self.$field != 0 { out.push(($text, self.$field)); })*
            }
        }
    };
}

/// Turns cumulative reports into increments, for [`Fact::Counters`](crate::model::Fact::Counters).
#[derive(Debug, Default)]
pub struct Increments {
    before: std::collections::BTreeMap<&'static str, u64>,
}

impl Increments {
    /// What was added since the last call, zero increments left out. Names that occur twice are summed.
    pub fn since_last(&mut self, report: &[(&'static str, u64)]) -> Vec<(&'static str, u64)> {
        let mut now = std::collections::BTreeMap::new();
        for (name, value) in report {
            *now.entry(*name).or_insert(0) += value;
        }
        let added = now
            .iter()
            .map(|(name, value)| (*name, value.saturating_sub(self.before.get(name).copied().unwrap_or(0))))
            .filter(|(_, added)| *added > 0)
            .collect();
        self.before = now;
        added
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    counters! { struct Example { seen => "example.seen", lost => "example.lost" } }

    #[test]
    fn increments_are_what_was_added() {
        let mut counters = Example { seen: 3, lost: 0 };
        let mut increments = Increments::default();
        let mut report = Vec::new();
        counters.report(&mut report);
        assert_eq!(increments.since_last(&report), vec![("example.seen", 3)]);
        counters.seen = 5;
        report.clear();
        counters.report(&mut report);
        assert_eq!(increments.since_last(&report), vec![("example.seen", 2)]);
    }
}
