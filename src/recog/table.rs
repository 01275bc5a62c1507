//! All fingerprints of one kind of text, e.g. of HTTP `Server` headers, in the order of their files: the first that
//! matches is it.
//!
//! Patterns are searched together, [`TOGETHER`] at a time, so that a text costs a pass over it for so many. What was
//! read is remembered for [`TEXTS_MAX`] texts; beyond it all is forgotten, and counted.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::fingerprint::Fingerprint;

const TOGETHER: usize = 64;
const TOGETHER_BYTES_MAX: usize = 16 << 20;
pub(super) const TEXTS_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Row>,
    /// Of each [`TOGETHER`] rows; `None` within where they are too large together.
    sets: Vec<OnceCell<Option<regex::bytes::RegexSet>>>,
    known: HashMap<String, Option<Arc<Named>>>,
}

#[derive(Debug)]
pub(super) struct Row {
    pub print: Fingerprint,
    /// The name of its file.
    pub file: Arc<str>,
}

/// What a text says of the program and the machine that sent it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    pub product: Option<String>,
    pub version: Option<String>,
    pub vendor: Option<String>,
    pub cpe: Option<String>,
    pub os: Option<String>,
    pub os_version: Option<String>,
    pub hardware: Option<String>,
    pub file: String,
}

/// Whether a text was known, and whether memory had to be emptied for it.
pub(super) enum Looked {
    Known(Option<Arc<Named>>),
    /// It would have to be read.
    New,
}

impl Table {
    pub fn add(&mut self, print: Fingerprint, file: &Arc<str>) {
        if self.rows.len().is_multiple_of(TOGETHER) {
            self.sets.push(OnceCell::new());
        }
        self.rows.push(Row { print, file: Arc::clone(file) });
    }

    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub fn look(&self, text: &str) -> Looked {
        self.known.get(text).map_or(Looked::New, |named| Looked::Known(named.clone()))
    }

    /// Reads a text and remembers what it is; true where others were forgotten for it.
    pub fn learn(&mut self, text: &str, bytes: &[u8]) -> (Option<Arc<Named>>, bool) {
        let named = self.first(bytes).map(|(row, read)| {
            let get = |name: &str| read.get(name).filter(|value| !value.is_empty()).cloned();
            Arc::new(Named {
                product: get("service.product"),
                version: get("service.version"),
                vendor: get("service.vendor"),
                cpe: get("service.cpe23"),
                os: get("os.product"),
                os_version: get("os.version"),
                hardware: get("hw.product"),
                file: row.file.to_string(),
            })
        });
        let full = self.known.len() >= TEXTS_MAX;
        if full {
            self.known.clear();
        }
        self.known.insert(text.to_owned(), named.clone());
        (named, full)
    }

    /// The first row that matches, and what it reads.
    pub fn first(&self, text: &[u8]) -> Option<(&Row, BTreeMap<&str, String>)> {
        for (rows, set) in self.rows.chunks(TOGETHER).zip(&self.sets) {
            let set = set.get_or_init(|| {
                // What is in no set must keep its place: a pattern that matches nothing stands for it.
                let patterns = rows.iter().map(|row| row.print.plain().unwrap_or("[^\\x00-\\xff]"));
                let mut builder = regex::bytes::RegexSetBuilder::new(patterns);
                builder.unicode(false).size_limit(TOGETHER_BYTES_MAX).build().ok()
            });
            let hits = set.as_ref().map(|set| set.matches(text));
            for (at, row) in rows.iter().enumerate() {
                let may = row.print.plain().is_none() || hits.as_ref().is_none_or(|hits| hits.matched(at));
                if may && let Some(read) = row.print.read(text) {
                    return Some((row, read));
                }
            }
        }
        None
    }
}
