//! Products and versions by Recog: XML files of fingerprints that the user has, matched against what services say of
//! themselves. What our own parsers read of a product stays; Recog fills in what they leave open, and is named.
//!
//! A folder has at most [`FILES_MAX`] files of [`FILE_BYTES_MAX`] and [`FINGERPRINTS_MAX`] fingerprints; what is beyond
//! is set aside and told. In one second of packet time at most [`READINGS_PER_S`] texts are read that were not read
//! before; further ones stay without a name, and are counted.

mod file;
mod fingerprint;
mod ruby;
mod table;
mod texts;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use file::Example;

use fingerprint::Fingerprint;
use table::{Looked, Named, Table};

use crate::counters;
use crate::model::{AppInfo, Timestamp, from_base64};

/// Recog has about 50 files.
const FILES_MAX: usize = 1024;
/// The largest of Recog's has half a MiB.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Recog has about 6,000.
const FINGERPRINTS_MAX: usize = 65_536;
/// A text costs about ten microseconds: less than a hundredth of a core.
const READINGS_PER_S: u32 = 500;
const FAULTS_MAX: usize = 1000;

counters! {
    struct Counters {
        read => "recog.read",
        named => "recog.named",
        unread => "recog.unread.busy",
        forgotten => "recog.texts.forgotten",
    }
}

/// A fingerprint or a file that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub file: PathBuf,
    pub line: usize,
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, AppInfo::clean(self.message.as_bytes()))
    }
}

#[derive(Debug, Default)]
pub struct Recog {
    tables: BTreeMap<String, Table>,
    files: usize,
    faults: Vec<Fault>,
    faults_untold: usize,
    /// The present second of packet time, and how many texts were read in it.
    busy: (i64, u32),
    counters: Counters,
}

impl Recog {
    /// Reads every `*.xml` of a folder, in order of name. A fingerprint that cannot be used is set aside.
    ///
    /// # Errors
    /// A folder that cannot be read, or has no such file.
    pub fn load(dir: &Path) -> Result<Self, String> {
        let entries = std::fs::read_dir(dir).map_err(|e| format!("{}: cannot be read: {e}", dir.display()))?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|ext| ext.eq_ignore_ascii_case("xml")));
        paths.sort();
        if paths.is_empty() {
            return Err(format!("{}: no *.xml in it: expected Recog's folder `xml`", dir.display()));
        }
        let mut recog = Recog::default();
        for (at, path) in paths.iter().enumerate() {
            if at >= FILES_MAX {
                recog.fault(path, 1, format!("more than {FILES_MAX} files: this one and all after it are left out"));
                break;
            }
            match read(path) {
                Ok(text) => recog.add(path, &text),
                Err(why) => recog.fault(path, 1, why),
            }
        }
        Ok(recog)
    }

    fn add(&mut self, path: &Path, text: &str) {
        let (file, faults) = file::read(text);
        for (line, message) in faults {
            self.fault(path, line, message);
        }
        let name: Arc<str> = path.file_name().unwrap_or_default().to_string_lossy().into();
        let kind = texts::kind(&file.matches, &name);
        self.files += 1;
        for entry in file.entries {
            let line = entry.line;
            if self.fingerprints() >= FINGERPRINTS_MAX {
                let message = format!("more than {FINGERPRINTS_MAX} fingerprints: the rest of the file is left out");
                return self.fault(path, line, message);
            }
            match Fingerprint::new(entry) {
                Ok(print) => self.tables.entry(kind.clone()).or_default().add(print, &name),
                Err(why) => self.fault(path, line, format!("{why}: set aside")),
            }
        }
    }

    fn fault(&mut self, file: &Path, line: usize, message: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault { file: file.to_owned(), line, message });
        } else {
            self.faults_untold += 1;
        }
    }

    /// Compiles every pattern; those that are too large become faults. For `config check`: a run compiles what it
    /// needs.
    pub fn compile_all(&mut self) {
        let tables = std::mem::take(&mut self.tables);
        for row in tables.values().flat_map(Table::rows).filter(|row| !row.print.compiles()) {
            self.fault(Path::new(&*row.file), row.print.line, "larger than 1 MiB when compiled: set aside".to_owned());
        }
        self.tables = tables;
    }

    pub fn fingerprints(&self) -> usize {
        self.tables.values().map(|table| table.rows().len()).sum()
    }

    /// What was set aside, at most [`FAULTS_MAX`] of it.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// In a line: how much there is, and how much of it is of use.
    pub fn told(&self) -> String {
        let unheard: usize =
            self.tables.iter().filter(|(kind, _)| !texts::heard(kind)).map(|(_, t)| t.rows().len()).sum();
        let aside = self.faults.len() + self.faults_untold;
        let unheard = if unheard > 0 { format!(", {unheard} for texts that are not kept") } else { String::new() };
        let aside = if aside > 0 { format!(", {aside} set aside") } else { String::new() };
        format!("{} fingerprints of {} files{unheard}{aside}", self.fingerprints(), self.files)
    }

    /// Fills in what our own parser left open.
    pub fn fill(&mut self, app: &mut AppInfo, now: Timestamp) {
        let mut found = None;
        for (kind, text) in texts::of(app) {
            let Some(table) = self.tables.get_mut(kind) else { continue };
            let named = match table.look(&text) {
                Looked::Known(named) => named,
                Looked::New => {
                    if self.busy.0 != now.second() {
                        self.busy = (now.second(), 0);
                    }
                    if self.busy.1 >= READINGS_PER_S {
                        self.counters.unread += 1;
                        continue;
                    }
                    self.busy.1 += 1;
                    let (named, forgot) = table.learn(&text, &texts::bytes(&text));
                    self.counters.read += 1;
                    self.counters.forgotten += u64::from(forgot);
                    self.counters.named += u64::from(named.is_some());
                    named
                }
            };
            if named.is_some() {
                found = named;
                break;
            }
        }
        if let Some(named) = found {
            named.fill(app);
        }
    }

    pub fn report(&self, out: &mut Vec<(&'static str, u64)>) {
        self.counters.report(out);
    }

    /// Every example of every fingerprint: its place, and whether it is read as it says. For tests of a folder.
    pub fn examples(&self) -> impl Iterator<Item = (String, Result<(), String>)> + '_ {
        self.tables.values().flat_map(Table::rows).flat_map(|row| {
            let told = row.print.examples.iter().filter(|example| !example.elsewhere);
            told.map(move |example| (format!("{}:{}", row.file, row.print.line), holds(&row.print, example)))
        })
    }
}

fn holds(print: &Fingerprint, example: &Example) -> Result<(), String> {
    let text = match example.base64 {
        true => unbase64(&example.text).ok_or("not base64")?,
        false => example.text.clone().into_bytes(),
    };
    let read = print.read(&text).ok_or_else(|| format!("no match ({})", print.description))?;
    for (name, expected) in &example.expected {
        let value = read.get(name.as_str()).map(String::as_str).unwrap_or_default();
        if value != expected {
            return Err(format!("{name} is `{value}`, not `{expected}` ({})", print.description));
        }
    }
    Ok(())
}

/// White space is passed over.
fn unbase64(text: &str) -> Option<Vec<u8>> {
    from_base64(&text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect::<Vec<u8>>())
}

fn read(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|e| format!("cannot be opened: {e}"))?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|e| format!("cannot be read: {e}"))?;
    match text.len() as u64 > FILE_BYTES_MAX {
        true => Err("is larger than 8 MiB: left out".to_owned()),
        false => Ok(text),
    }
}

impl Named {
    /// The product of our own parser stays, and so does its version; Recog's version of another product is not its.
    fn fill(&self, app: &mut AppInfo) {
        let of_it = match (&app.product, &self.product) {
            (Some(own), Some(theirs)) => alike(own, theirs),
            (own, _) => own.is_none(),
        };
        if !of_it {
            return self.machine(app);
        }
        if let Some(product) = self.product.as_deref().filter(|_| app.product.is_none()) {
            app.detail(AppInfo::PRODUCT_BY, &self.file);
            // Without its source it would be taken for our own word.
            if app.get(AppInfo::PRODUCT_BY).is_none() {
                return;
            }
            let version = app.version.take().or_else(|| self.version.clone());
            app.product(product, version.as_deref().map(str::as_bytes));
        } else if let Some(version) = self.version.as_deref().filter(|_| app.product.is_some() && app.version.is_none())
        {
            app.detail(AppInfo::VERSION_BY, &self.file);
            if app.get(AppInfo::VERSION_BY).is_some() {
                app.version = Some(AppInfo::clean(version.as_bytes()));
            }
        }
        open(app, "vendor", &self.vendor);
        open(app, "cpe", &self.cpe);
        self.machine(app);
    }

    fn machine(&self, app: &mut AppInfo) {
        if app.get("os").is_none() {
            open(app, "os_version", &self.os_version);
        }
        open(app, "os", &self.os);
        open(app, "hardware", &self.hardware);
    }
}

/// Adds a detail that is not there.
fn open(app: &mut AppInfo, name: &'static str, value: &Option<String>) {
    if let Some(value) = value.as_ref().filter(|_| app.get(name).is_none()) {
        app.detail(name, value);
    }
}

/// `Apache` and `Apache HTTPD`, `Microsoft-IIS` and `IIS`.
fn alike(own: &str, theirs: &str) -> bool {
    let (own, theirs) = (own.to_ascii_lowercase(), theirs.to_ascii_lowercase());
    own.contains(&theirs) || theirs.contains(&own)
}

#[cfg(test)]
mod tests;
