//! Rank: how loudly an incident is told. Surprise: how little it was to be expected, in nats (-ln of its probability).
//! Plain numbers of fixed size.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::finding::Severity;

/// Decided once when an incident opens, and again when it gets worse; the alert budget rules what is usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rank {
    /// A line of the day's digest.
    #[default]
    Digest,
    /// Told, and wakes nobody.
    Notice,
    /// Someone should look now.
    Page,
}

impl Rank {
    pub const ALL: [Rank; 3] = [Rank::Page, Rank::Notice, Rank::Digest];
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rank::Page => "page",
            Rank::Notice => "notice",
            Rank::Digest => "digest",
        })
    }
}

impl FromStr for Rank {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Rank::ALL
            .into_iter()
            .find(|rank| rank.to_string() == text)
            .ok_or_else(|| format!("`{text}` is not a rank: page, notice or digest"))
    }
}

/// Thousandths of a nat, so that it is compared and stored exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Surprise(i32);

impl Surprise {
    pub const ZERO: Surprise = Surprise(0);
    /// One in 500 million: nothing is measured as rarer.
    pub const MAX: Surprise = Surprise(20_000);

    pub fn from_nats(nats: f64) -> Self {
        Surprise((nats * 1_000.0).round().clamp(0.0, f64::from(Surprise::MAX.0)) as i32)
    }

    pub fn nats(self) -> f64 {
        f64::from(self.0) / 1_000.0
    }

    pub fn plus_nats(self, nats: f64) -> Self {
        Surprise::from_nats(self.nats() + nats)
    }

    /// Of a finding whose detector measures none: one step of severity is about one in seven.
    pub fn of(severity: Severity) -> Self {
        Surprise(match severity {
            Severity::Info => 0,
            Severity::Low => 2_000,
            Severity::Medium => 4_000,
            Severity::High => 7_000,
            Severity::Critical => 12_000,
        })
    }
}

impl fmt::Display for Surprise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} nats", self.nats())
    }
}

/// Which rule gave the rank. Scripts hold on to these names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RankedBy {
    /// It is on the list that is reported whatever the budget.
    AlwaysReport,
    /// Critical is always a page.
    Critical,
    /// Its surprise reaches the threshold of its severity.
    AboveThreshold,
    /// So much of the like is usual here that it does not.
    BelowThreshold,
    /// A remark.
    #[default]
    Info,
}

impl fmt::Display for RankedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RankedBy::AlwaysReport => "always-report",
            RankedBy::Critical => "critical",
            RankedBy::AboveThreshold => "above-threshold",
            RankedBy::BelowThreshold => "below-threshold",
            RankedBy::Info => "info",
        })
    }
}

/// A rank with the numbers it was decided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranking {
    pub rank: Rank,
    pub by: RankedBy,
    pub surprise: Surprise,
    /// What its surprise was held against.
    pub threshold: Surprise,
}

impl fmt::Display for Ranking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ranking { rank, by, surprise, threshold } = self;
        match by {
            RankedBy::AlwaysReport => write!(f, "{rank}: it is on the list that is reported whatever the budget"),
            RankedBy::Critical => write!(f, "{rank}: critical always is"),
            RankedBy::AboveThreshold => write!(f, "{rank}: surprise of {surprise}, the threshold was {threshold}"),
            RankedBy::BelowThreshold => {
                write!(f, "{rank}: surprise of {surprise}, below the threshold of {threshold}: so much is usual here")
            }
            RankedBy::Info => write!(f, "{rank}: a remark"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_ordered_and_read_back() {
        assert!(Rank::Page > Rank::Notice && Rank::Notice > Rank::Digest);
        for rank in Rank::ALL {
            assert_eq!(rank.to_string().parse(), Ok(rank));
        }
        assert!("loud".parse::<Rank>().unwrap_err().contains("page, notice or digest"));
    }

    #[test]
    fn surprise_is_bounded_and_exact() {
        assert_eq!(Surprise::from_nats(f64::INFINITY), Surprise::MAX);
        assert_eq!(Surprise::from_nats(-3.0), Surprise::ZERO);
        assert_eq!(Surprise::from_nats(f64::NAN), Surprise::ZERO);
        assert_eq!(Surprise::from_nats(2.0).plus_nats(1.5).nats(), 3.5);
        assert!(Severity::ALL.windows(2).all(|pair| Surprise::of(pair[0]) < Surprise::of(pair[1])));
    }
}
