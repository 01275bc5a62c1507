//! sled 0.34.7 behind a guard: the only file that names it. It has panicked, hung and lost records in silence on
//! damaged files (docs/store.md), so every call here is caught, and opening runs on its own thread with a deadline.
//! Its cache has 16 MiB; an open that passes its deadline is given up, and its folder with it.

use std::cell::Cell;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Once;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::{StoreError, files};

/// sled keeps about twice its capacity resident; 16 MiB holds the working set of 100,000 records.
const CACHE_BYTES: u64 = 16 << 20;

/// Room below which sled is not asked to write: two of its 512 KiB segments.
const ROOM_BYTES_MIN: u64 = 1 << 20;
/// sled writes whole pages and their blobs again for a change in them.
const SPREAD: u64 = 8;
/// Everything was flushed before, so closing takes milliseconds.
const CLOSE_MAX: Duration = Duration::from_secs(10);
const CLOSE_BROKEN_MAX: Duration = Duration::from_secs(1);

/// What went wrong, before it is known whether it is damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The disk, permissions: nobody's store is damaged by that.
    Outside(StoreError),
    /// sled refused, panicked, or took longer than it may.
    Damaged(String),
    /// sled's own lock on its file: an earlier handle of ours is not closed yet.
    Busy,
}

/// One key, and its record or its removal.
pub(super) type Write = (Vec<u8>, Option<Vec<u8>>);

pub(super) struct SledFile {
    /// Taken only by `drop`.
    db: Option<::sled::Db>,
    /// After an error sled refuses everything; after a panic nothing it says may be believed.
    usable: Cell<bool>,
}

impl SledFile {
    pub fn open(folder: &Path) -> Result<Self, Trouble> {
        files::private_dir(folder).map_err(Trouble::Outside)?;
        files::room(folder, ROOM_BYTES_MIN).map_err(Trouble::Outside)?;
        let db = caught(|| {
            ::sled::Config::new()
                .path(folder)
                .cache_capacity(CACHE_BYTES)
                .flush_every_ms(None)
                .use_compression(false)
                .open()
        })
        .map_err(|t| t.at(folder))?;
        Ok(SledFile { db: Some(db), usable: Cell::new(true) })
    }

    /// Has the disk room for what sled writes for a batch of `bytes`? Asked before each commit, because a full disk
    /// met in the middle of one leaves sled with a buffer that no flush ever finishes.
    pub fn has_room(folder: &Path, bytes: usize) -> Result<(), Trouble> {
        files::room(folder, ROOM_BYTES_MIN + SPREAD * bytes as u64).map_err(Trouble::Outside)
    }

    /// Applies all of `writes` and flushes, or leaves the handle unusable. After an error it is not known whether
    /// they will be there when the folder is opened again; all of them or none.
    pub fn commit(&self, writes: &[Write]) -> Result<(), Trouble> {
        let mut batch = ::sled::Batch::default();
        for (key, record) in writes {
            match record {
                Some(record) => batch.insert(key.as_slice(), record.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        self.with(|db| {
            db.apply_batch(batch)?;
            db.flush().map(|_| ())
        })
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Trouble> {
        self.with(|db| Ok(db.get(key)?.map(|record| record.to_vec())))
    }

    /// Every record whose key begins with `prefix`, in order of key.
    pub fn each(&self, prefix: &[u8], mut visit: impl FnMut(&[u8], &[u8])) -> Result<(), Trouble> {
        self.with(|db| {
            for entry in db.scan_prefix(prefix) {
                let (key, record) = entry?;
                visit(&key, &record);
            }
            Ok(())
        })
    }

    pub fn is_usable(&self) -> bool {
        self.usable.get()
    }

    fn with<T>(&self, call: impl FnOnce(&::sled::Db) -> ::sled::Result<T>) -> Result<T, Trouble> {
        let db = self.db.as_ref().filter(|_| self.usable.get());
        let db = db.ok_or_else(|| Trouble::Damaged("the store is closed after an earlier error".to_owned()))?;
        caught(|| call(db)).inspect_err(|_| self.usable.set(false))
    }
}

/// Closing writes, so it too may panic on what was damaged under us, and never ends after a full disk. It is then
/// left behind on its thread, where it holds sled's lock on that one file until the process ends.
impl Drop for SledFile {
    fn drop(&mut self) {
        let db = self.db.take();
        let patience = if self.usable.get() { CLOSE_MAX } else { CLOSE_BROKEN_MAX };
        let _ = guarded(patience, move || {
            drop(db);
            Ok(())
        });
    }
}

impl Trouble {
    fn at(self, folder: &Path) -> Self {
        match self {
            Trouble::Outside(StoreError::Full(text)) => {
                Trouble::Outside(StoreError::Full(format!("{}: {text}", folder.display())))
            }
            Trouble::Outside(StoreError::Unreachable(text)) => {
                Trouble::Outside(StoreError::Unreachable(format!("{}: {text}", folder.display())))
            }
            other => other,
        }
    }
}

/// Runs `work` on its own thread, where a panic ends nothing else and a hang ends at the deadline.
pub(super) fn guarded<T: Send + 'static>(
    deadline: Duration,
    work: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
) -> Result<T, Trouble> {
    quiet_panics_of_sled();
    let (send, receive) = sync_channel(1);
    let spawned = std::thread::Builder::new().name("sled-guard".to_owned()).spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(work));
        // Nobody listens any more when the deadline has passed; what was opened is then closed here.
        let _ = send.send(result.unwrap_or_else(|panic| Err(panicked(&*panic))));
    });
    if let Err(e) = spawned {
        return Err(Trouble::Outside(StoreError::Unreachable(format!("no thread to open the store on: {e}"))));
    }
    receive.recv_timeout(deadline).unwrap_or_else(|e| {
        Err(Trouble::Damaged(match e {
            RecvTimeoutError::Timeout => format!("it did not open within {} s", deadline.as_secs()),
            RecvTimeoutError::Disconnected => "opening it ended without an answer".to_owned(),
        }))
    })
}

fn caught<T>(call: impl FnOnce() -> ::sled::Result<T>) -> Result<T, Trouble> {
    quiet_panics_of_sled();
    IN_SLED.set(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    IN_SLED.set(false);
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(understood(error)),
        Err(panic) => Err(panicked(&*panic)),
    }
}

/// Which errors are the disk's and the operator's, and which are damage. sled copies errors without their OS code,
/// so the kind decides; what is not known to be harmless is damage, because then nothing is lost but a rebuild.
fn understood(error: ::sled::Error) -> Trouble {
    let ::sled::Error::Io(io) = &error else { return Trouble::Damaged(error.to_string()) };
    match io.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Trouble::Outside(StoreError::Full("the disk of the state is full: free some space there".to_owned()))
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Trouble::Outside(StoreError::Unreachable(
            format!("the store cannot be written: {io}: make it writable for this user, or choose another --state"),
        )),
        ErrorKind::Other if io.to_string().contains("could not acquire lock") => Trouble::Busy,
        ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::IsADirectory => {
            Trouble::Damaged(io.to_string())
        }
        // An OS code: out of files, of memory, a disk that answers EIO. Another try may succeed.
        _ if io.raw_os_error().is_some() => {
            Trouble::Outside(StoreError::Unreachable(format!("the store cannot be used: {io}")))
        }
        _ => Trouble::Damaged(io.to_string()),
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Trouble {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("without a word").lines().next().unwrap_or_default();
    Trouble::Damaged(format!("sled panicked: {text}"))
}

thread_local! {
    static IN_SLED: Cell<bool> = const { Cell::new(false) };
}

/// A caught panic is told in the recovery report; its backtrace on stderr would only frighten. sled's own I/O
/// threads panic too, after which their caller gets an error or a panic of its own.
fn quiet_panics_of_sled() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let named = std::thread::current().name().is_some_and(|name| name.starts_with("sled"));
            if !named && !IN_SLED.get() {
                before(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::super::torture::Folder;
    use super::*;

    #[test]
    fn a_panic_and_a_hang_under_the_guard_are_answers() {
        let panic = guarded(Duration::from_secs(5), || -> Result<(), Trouble> { panic!("bad page") });
        assert_eq!(panic, Err(Trouble::Damaged("sled panicked: bad page".to_owned())));
        let hang = guarded(Duration::from_millis(50), || {
            std::thread::sleep(Duration::from_secs(2));
            Ok(())
        });
        assert!(matches!(hang, Err(Trouble::Damaged(text)) if text.contains("did not open")));
    }

    #[test]
    fn a_second_handle_on_one_folder_is_busy_not_damaged() {
        let folder = Folder::new();
        let first = SledFile::open(folder.path()).unwrap();
        assert_eq!(SledFile::open(folder.path()).map(|_| ()).unwrap_err(), Trouble::Busy);
        drop(first);
    }

    #[test]
    fn what_is_committed_is_there_after_reopening() {
        let folder = Folder::new();
        let file = SledFile::open(folder.path()).unwrap();
        file.commit(&[(b"\x01a".to_vec(), Some(b"1".to_vec())), (b"\x02b".to_vec(), Some(b"2".to_vec()))]).unwrap();
        file.commit(&[(b"\x02b".to_vec(), None)]).unwrap();
        drop(file);
        let file = SledFile::open(folder.path()).unwrap();
        let mut seen = Vec::new();
        file.each(b"", |key, record| seen.push((key.to_vec(), record.to_vec()))).unwrap();
        assert_eq!(seen, vec![(b"\x01a".to_vec(), b"1".to_vec())]);
        assert_eq!(file.get(b"\x01a"), Ok(Some(b"1".to_vec())));
    }
}
