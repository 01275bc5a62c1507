//! Files of the state directory: private, written whole or not at all, and errors that name the file.
//! Writing passes 64 KiB at a time; what cannot be written whole is removed and the file before it stays.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::StoreError;

/// Options for a file that only its owner may read.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// A folder that only its owner may enter; one that exists is left as it is.
pub(super) fn private_dir(path: &Path) -> Result<(), StoreError> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(StoreError::Unreachable(format!(
            "the state {} is a file, not a directory: choose another --state",
            path.display()
        ))),
        Err(_) => {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| trouble("create", path, &e))
        }
    }
}

/// Replaces `path` by what `write` writes: written beside it, synced, renamed. After a crash it is the old or the new.
pub(super) fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), StoreError> {
    let beside = path.with_extension("tmp");
    let written = (|| {
        let file = private().write(true).create(true).truncate(true).open(&beside)?;
        let mut buffered = io::BufWriter::with_capacity(64 << 10, &file);
        write(&mut buffered)?;
        buffered.flush()?;
        drop(buffered);
        file.sync_all()?;
        fs::rename(&beside, path)?;
        path.parent().map_or(Ok(()), sync_dir)
    })();
    written.map_err(|e| {
        let _ = fs::remove_file(&beside);
        trouble("write", path, &e)
    })
}

/// Makes renames inside `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).and_then(|()| to.parent().map_or(Ok(()), sync_dir)).map_err(|e| trouble("rename", from, &e))
}

/// `Full` where the disk of `folder` has less than `bytes` left. Where that cannot be asked, writing will tell.
pub(super) fn room(folder: &Path, bytes: u64) -> Result<(), StoreError> {
    match fs2::available_space(folder) {
        Ok(left) if left < bytes => Err(StoreError::Full(format!(
            "the disk of {} is full ({} KiB left, {} needed): free some space there",
            folder.display(),
            left >> 10,
            bytes >> 10
        ))),
        _ => Ok(()),
    }
}

/// What a file-system error means for the operator.
pub(super) fn trouble(verb: &str, path: &Path, error: &io::Error) -> StoreError {
    let at = path.display();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            StoreError::Full(format!("cannot {verb} {at}: the disk is full: free some space there"))
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreError::Unreachable(format!(
            "cannot {verb} {at}: {error}: make it writable for this user, or choose another --state"
        )),
        _ => StoreError::Unreachable(format!("cannot {verb} {at}: {error}")),
    }
}

/// Bytes of all files in a folder, its folders included.
pub(super) fn size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .map(|(path, found)| if found.is_dir() { size(&path) } else { found.len() })
        .sum()
}
