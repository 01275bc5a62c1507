//! `STATE/reserve`: room on the disk that is ours to give up, so that a full disk can be opened and incidents can
//! still be written. 4 MiB unless told otherwise; when the disk is too full to lay it down, that is told by `lay`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::StoreError;
use super::files::{private, room, sync_dir, trouble};

#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
}

impl Reserve {
    pub fn new(state: &Path, bytes: u64) -> Self {
        Reserve { path: state.join("reserve"), bytes }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn is_laid(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|found| found.len() >= self.bytes)
    }

    /// Lays it down unless it is there, where as much again is free: a disk at its edge must not swing to and fro.
    /// On a full disk nothing of it is left behind.
    pub fn lay(&self) -> Result<(), StoreError> {
        if self.is_laid() {
            return Ok(());
        }
        room(self.path.parent().unwrap_or(&self.path), 2 * self.bytes)?;
        let laid = (|| {
            let mut file = private().write(true).create(true).truncate(true).open(&self.path)?;
            // Not zeros: a file system that compresses would keep no room for them.
            let mut state = 0x9e37_79b9_7f4a_7c15_u64;
            let mut left = self.bytes;
            while left > 0 {
                let mut block = [0u8; 8192];
                for word in block.chunks_exact_mut(8) {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    word.copy_from_slice(&state.to_le_bytes());
                }
                let take = usize::try_from(left).unwrap_or(block.len()).min(block.len());
                file.write_all(block.get(..take).unwrap_or(&block))?;
                left -= take as u64;
            }
            file.sync_all()
        })();
        laid.map_err(|e| {
            let _ = fs::remove_file(&self.path);
            trouble("lay down the reserve", &self.path, &e)
        })
    }

    /// Gives the room back. True when there was a reserve to give.
    pub fn release(&self) -> bool {
        let released = fs::remove_file(&self.path).is_ok();
        if let Some(dir) = self.path.parent().filter(|_| released) {
            let _ = sync_dir(dir);
        }
        released
    }
}

#[cfg(test)]
mod tests {
    use super::super::torture::Folder;
    use super::*;

    #[test]
    fn a_reserve_is_laid_once_and_released_once() {
        let folder = Folder::new();
        let reserve = Reserve::new(folder.path(), 10_000);
        assert!(!reserve.is_laid());
        reserve.lay().unwrap();
        assert_eq!(fs::metadata(folder.path().join("reserve")).unwrap().len(), 10_000);
        assert!(reserve.release());
        assert!(!reserve.release());
    }
}
