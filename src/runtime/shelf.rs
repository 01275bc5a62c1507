//! The shelf: a folder with a file for each VM, `vm-….toml`, shared by the probes that follow each other's baselines.
//! A file is written beside and renamed, so that a reader finds the old one or the new one; it is not waited for until
//! it is on the disk, because every probe keeps its own state.
//!
//! At most [`FILES_MAX`] files of [`FILE_BYTES_MAX`]. When full, a sixteenth that nobody has written for [`STALE`] makes
//! room, else nothing new is written. Who may write here says what is normal: a folder that everyone may write to is not
//! read, nor is anything that is no plain file.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::baseline::Sheet;
use crate::brain::{Asked, Folder, Put};
use crate::capture::FRAME_BYTES_MAX;
use crate::model::{VmId, stable_hash};

/// As `baseline.vms_max`.
const FILES_MAX: usize = 100_000;
/// Some 1,700 rows; a recording holds it in one frame, together with the VM's id.
pub const FILE_BYTES_MAX: usize = FRAME_BYTES_MAX - 64;
/// Four times the window of ripeness: whoever comes back after that may learn anew.
const STALE: Duration = Duration::from_secs(112 * 86_400);
/// What a killed writer left behind.
const ABANDONED: Duration = Duration::from_secs(3_600);
const WRITABLE_BY_EVERYONE: u32 = 0o002;

pub struct Shelf {
    dir: PathBuf,
    /// Digest of what was last read from, or written to, each file.
    known: BTreeMap<VmId, u64>,
    /// Files there are; counted at the first write, and again where it says that the folder is full.
    files: Option<usize>,
    written: u64,
    trouble: Option<String>,
}

impl Shelf {
    pub fn new(dir: &Path) -> Self {
        Shelf { dir: dir.to_owned(), known: BTreeMap::new(), files: None, written: 0, trouble: None }
    }

    /// Can it be read and written? How many files it holds, or what is wrong and the mend.
    pub fn check(dir: &Path) -> Result<String, (String, String)> {
        let shown = dir.display();
        let shelf = Shelf::new(dir);
        shelf.is_trusted().map_err(|why| {
            let mend = format!("it is a folder that the probes, and nobody else, may write to: chmod o-w {shown}");
            (why, mend)
        })?;
        let mend = || "let the user that eastwatch runs as read and write there".to_owned();
        let vm = VmId::default();
        let tried = shelf.temporary(vm);
        let write = OpenOptions::new().write(true).create_new(true).open(&tried).and_then(|_| fs::remove_file(&tried));
        write.map_err(|e| (format!("{shown}: cannot be written to: {e}"), mend()))?;
        let files = shelf.count().map_err(|e| (format!("{shown}: cannot be read: {e}"), mend()))?;
        Ok(format!("{shown}: baselines of {files} VMs"))
    }

    fn path(&self, vm: VmId) -> PathBuf {
        self.dir.join(format!("{vm}.toml"))
    }

    fn temporary(&self, vm: VmId) -> PathBuf {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.dir.join(format!(".{vm}-{}-{}-{}.tmp", std::process::id(), self.written, since.as_nanos()))
    }

    fn is_trusted(&self) -> Result<(), String> {
        let shown = self.dir.display();
        let meta = fs::metadata(&self.dir).map_err(|e| format!("{shown}: {e}"))?;
        if !meta.is_dir() {
            return Err(format!("{shown} is no folder"));
        }
        if meta.permissions().mode() & WRITABLE_BY_EVERYONE != 0 {
            return Err(format!("{shown} is writable by everyone: what lies there proves nothing"));
        }
        Ok(())
    }

    /// The text of a VM's file; `None` where there is none.
    fn read(&self, vm: VmId) -> Result<Option<String>, String> {
        self.is_trusted()?;
        let path = self.path(vm);
        let told = |what: String| format!("{}: {what}", path.display());
        // Asked before it is opened: to open a pipe would wait for its writer.
        let meta = match fs::symlink_metadata(&path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(told(e.to_string())),
        };
        if !meta.is_file() {
            return Err(told("it is no plain file".to_owned()));
        }
        let file = File::open(&path).map_err(|e| told(e.to_string()))?;
        let same = |opened: &fs::Metadata| (opened.dev(), opened.ino()) == (meta.dev(), meta.ino());
        if !file.metadata().is_ok_and(|opened| same(&opened)) {
            return Err(told("it was exchanged while it was opened".to_owned()));
        }
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|e| told(e.to_string()))?;
        if bytes.len() > FILE_BYTES_MAX {
            return Err(told(format!("it is larger than {} KiB", FILE_BYTES_MAX >> 10)));
        }
        String::from_utf8(bytes).map(Some).map_err(|_| told("it is not UTF-8 text".to_owned()))
    }

    /// What another has written since, where that is so.
    fn theirs(&mut self, vm: VmId) -> Result<Option<String>, String> {
        let Some(text) = self.read(vm)? else {
            self.known.remove(&vm);
            return Ok(None);
        };
        let digest = stable_hash(&[text.as_bytes()]);
        if self.known.len() >= FILES_MAX && !self.known.contains_key(&vm) {
            self.known.clear();
        }
        Ok((self.known.insert(vm, digest) != Some(digest)).then_some(text))
    }

    fn write(&mut self, vm: VmId, text: &str) -> Result<(), String> {
        let path = self.path(vm);
        let told = |e: io::Error| format!("{}: cannot be written: {e}", path.display());
        if text.len() > FILE_BYTES_MAX {
            return Err(format!("{}: what {vm} does makes more than {} KiB", path.display(), FILE_BYTES_MAX >> 10));
        }
        let fresh = !self.known.contains_key(&vm) && fs::symlink_metadata(&path).is_err();
        if fresh && !self.has_room().map_err(told)? {
            return Err(format!("{}: {FILES_MAX} files lie there already", self.dir.display()));
        }
        let temporary = self.temporary(vm);
        let written = File::create_new(&temporary).and_then(|mut file| file.write_all(text.as_bytes()));
        let written = written.and_then(|()| fs::rename(&temporary, &path));
        if let Err(error) = written {
            let _ = fs::remove_file(&temporary);
            return Err(told(error));
        }
        self.written += 1;
        self.files = self.files.map(|files| files + usize::from(fresh));
        self.known.insert(vm, stable_hash(&[text.as_bytes()]));
        Ok(())
    }

    fn has_room(&mut self) -> io::Result<bool> {
        if self.files.is_none_or(|files| files >= FILES_MAX) {
            self.clear(ABANDONED, |name| name.starts_with(".vm-") && name.ends_with(".tmp"), usize::MAX)?;
            self.files = Some(self.count()?);
        }
        if self.files.is_some_and(|files| files >= FILES_MAX) {
            self.clear(STALE, is_ours, FILES_MAX / 16)?;
            self.files = Some(self.count()?);
        }
        Ok(self.files.is_some_and(|files| files < FILES_MAX))
    }

    fn count(&self) -> io::Result<usize> {
        let ours = |entry: &fs::DirEntry| entry.file_name().to_str().is_some_and(is_ours);
        Ok(fs::read_dir(&self.dir)?.flatten().filter(ours).count())
    }

    /// Removes at most `most` plain files of such a name that are older, the oldest first.
    fn clear(&self, older: Duration, name: impl Fn(&str) -> bool, most: usize) -> io::Result<()> {
        let now = SystemTime::now();
        let mut old = Vec::new();
        for entry in fs::read_dir(&self.dir)?.flatten() {
            let named = entry.file_name().to_str().is_some_and(&name);
            let Some(meta) = entry.metadata().ok().filter(|meta| named && meta.is_file()) else { continue };
            let at = meta.modified()?;
            if now.duration_since(at).is_ok_and(|age| age > older) {
                old.push((at, entry.path()));
            }
        }
        old.sort();
        for (_, path) in old.into_iter().take(most) {
            fs::remove_file(path)?;
        }
        Ok(())
    }

    /// Tells a trouble when it begins or changes.
    fn told<T>(&mut self, done: Result<T, String>) -> Option<T> {
        match done {
            Ok(done) => {
                self.trouble = None;
                Some(done)
            }
            Err(why) => {
                if self.trouble.as_ref() != Some(&why) {
                    tracing::warn!("[baseline] follow: {why}");
                }
                self.trouble = Some(why);
                None
            }
        }
    }
}

/// `vm-0123456789ab.toml`
fn is_ours(name: &str) -> bool {
    name.strip_suffix(".toml").is_some_and(|id| id.parse::<VmId>().is_ok())
}

impl Folder for Shelf {
    fn ask(&mut self, vm: VmId) -> Asked {
        let theirs = self.theirs(vm);
        Asked::Now(self.told(theirs).flatten())
    }

    fn put(&mut self, vm: VmId, sheet: &Sheet) -> Put {
        if let Err(why) = self.is_trusted() {
            self.told::<()>(Err(why));
            return Put::Failed;
        }
        // What cannot be read is no one's word: it is written over.
        if let Ok(Some(text)) = self.theirs(vm) {
            return Put::Theirs(text);
        }
        let written = self.write(vm, &sheet.text);
        self.told(written).map_or(Put::Failed, |()| Put::Done)
    }

    fn remove(&mut self, vm: VmId) {
        self.known.remove(&vm);
        let gone = fs::remove_file(self.path(vm));
        let gone = gone.or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) });
        self.told(gone.map_err(|e| format!("{}: cannot be removed: {e}", self.path(vm).display())));
    }

    fn dir(&self) -> &Path {
        &self.dir
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }
}

#[cfg(test)]
#[path = "shelf_tests.rs"]
mod tests;
