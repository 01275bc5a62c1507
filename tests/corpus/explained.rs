//! Differences that are explained: `explained.tsv`, one row each, every one with the frames that show it.
//!
//! Read whole. A row without its difference is told: it would hide the next one.

use std::collections::BTreeMap;

use super::Key;
use super::truth::{key, table};

/// The kinds of difference, as the column `what` has them.
pub const MISSING: &str = "missing";
pub const EXTRA: &str = "extra";
pub const APP: &str = "app";

/// Whose the difference is: the truth has it wrong or not at all, or the program sees it otherwise on purpose or
/// for want of something.
const TRUTH: &str = "truth";
const OURS: &str = "ours";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    pub of_truth: bool,
    pub text: String,
}

pub struct Explanations {
    /// Why, and whether the difference occurred. Address and port may be `*`.
    rows: BTreeMap<(String, String), Vec<Row>>,
}

struct Row {
    key: (String, String, String),
    why: Why,
    used: bool,
}

impl Explanations {
    pub fn load() -> Result<Self, String> {
        let columns = ["path", "what", "ip", "proto", "port", "whose", "why"];
        let mut rows: BTreeMap<_, Vec<Row>> = BTreeMap::new();
        for row in table("explained.tsv", include_str!("explained.tsv"), &columns)? {
            let [path, what, ip, proto, port, whose, why] = row.as_slice() else { continue };
            if ![MISSING, EXTRA, APP].contains(&what.as_str())
                || ![TRUTH, OURS].contains(&whose.as_str())
                || why.is_empty()
            {
                return Err(format!(
                    "explained.tsv: {path} {ip}: `{what}` is no kind of difference, `{whose}` is nobody, or no reason is given"
                ));
            }
            if ip != "*" {
                key(ip, proto, port)?;
            }
            let row = Row {
                key: (ip.clone(), proto.clone(), port.clone()),
                why: Why { of_truth: whose == TRUTH, text: why.clone() },
                used: false,
            };
            rows.entry((path.clone(), what.clone())).or_default().push(row);
        }
        Ok(Explanations { rows })
    }

    /// Why this difference is none of the program's, if it is explained.
    pub fn of(&mut self, path: &str, what: &str, (ip, proto, port): &Key) -> Option<Why> {
        let (ip, port) = (ip.to_string(), port.to_string());
        let row = self
            .rows
            .get_mut(&(path.to_owned(), what.to_owned()))?
            .iter_mut()
            .find(|row| (row.key.0 == ip || row.key.0 == "*") && row.key.1 == *proto && row.key.2 == port)?;
        row.used = true;
        Some(row.why.clone())
    }

    /// Rows whose difference did not occur.
    pub fn unused(&self) -> Vec<String> {
        let rows = self.rows.iter().flat_map(|((path, what), rows)| rows.iter().map(move |row| (path, what, row)));
        rows.filter(|(.., row)| !row.used)
            .map(|(path, what, row)| format!("{path} {what} {} {}/{}", row.key.0, row.key.1, row.key.2))
            .collect()
    }
}
