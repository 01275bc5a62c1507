//! What `open` found wrong and did about it: told to the operator, never kept quiet. One sentence for each of the
//! four things that can be damaged (store, meta, export, journal) and what was done, so it stays a few lines.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Told whenever anything of the state was not as it was left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// What was found, one sentence each.
    pub damage: Vec<String>,
    /// True where the store was rebuilt; false where it was sound and only its guards were mended.
    pub rebuilt: bool,
    /// Where the damaged store lies now; `None` where nothing of it was left.
    pub set_aside: Option<PathBuf>,
    /// Records in the store now, by the name of their kind.
    pub restored: BTreeMap<String, u64>,
    /// Records that were there when they were last counted, where anything still tells.
    pub known: BTreeMap<String, u64>,
    /// Batches up to which the store now reaches, and the last one that is known to have been applied.
    pub generation: u64,
    pub known_generation: u64,
    /// False where counts, digest and generation prove that the records are all that anything still knows of.
    pub may_have_lost: bool,
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the state was damaged: {}", self.damage.join("; "))?;
        if !self.rebuilt {
            return write!(
                f,
                ". All {} records are intact; what was damaged has been written anew",
                total(&self.restored)
            );
        }
        if let Some(aside) = &self.set_aside {
            write!(f, ". The damaged store is kept as {}", aside.display())?;
        }
        write!(f, ". Restored {}", listed(&self.restored))?;
        if !self.may_have_lost {
            return write!(f, ": nothing is missing");
        }
        write!(f, ", up to batch {} of {} known", self.generation, self.known_generation)?;
        if !self.known.is_empty() && self.known != self.restored {
            write!(f, " (when last counted: {})", listed(&self.known))?;
        }
        write!(f, ". What was learned or decided since may be missing: check `incidents` and `sanction list`")
    }
}

fn total(counts: &BTreeMap<String, u64>) -> u64 {
    counts.values().sum()
}

fn listed(counts: &BTreeMap<String, u64>) -> String {
    if total(counts) == 0 {
        return "no record at all".to_owned();
    }
    let kinds: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    format!("{} records ({})", total(counts), kinds.join(", "))
}
