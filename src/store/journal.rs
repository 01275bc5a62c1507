//! `STATE/journal`: every batch applied since the last export, written after sled has flushed it.
//!
//! It is what lets a rebuild lose nothing, and what shows that sled came back older than it was. It is not synced
//! (sled's flush is what a batch waits for): a crash of the process loses none of it, a power cut at most what the
//! kernel had not written yet. Its bound is the export: it is emptied once it is as large as the live records.
//! When an entry cannot be written the journal is closed until the next export, and that is counted.
//!
//! Header: `EWjournal`, format byte, store id, generation of the export it continues, CRC-32. Entry: length, CRC-32
//! of generation and writes, generation, writes (postcard). Numbers are big endian.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use super::StoreError;
use super::files::{private, replace, trouble};
use super::sled::Write;

const MAGIC: &[u8; 10] = b"EWjournal\x01";
const HEADER_BYTES: u64 = 30;
/// Larger than any batch the brain makes in a group commit; a length beyond it is damage.
const ENTRY_BYTES_MAX: u32 = 256 << 20;

#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// `None` after an error, until it is begun again.
    file: Option<File>,
    pub bytes: u64,
}

/// What a journal on disk holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub store: u64,
    /// Generation of the export it continues.
    pub base: u64,
    /// Generation of its last whole entry, `base` without any.
    pub last: u64,
    /// Bytes of the header and the whole entries.
    pub bytes: u64,
    /// True where something follows the last whole entry, or entries are not consecutive.
    pub torn: bool,
}

impl Journal {
    /// An empty journal that continues the export of `generation`.
    pub fn begin(state: &Path, store: u64, generation: u64) -> Result<Self, StoreError> {
        let path = path(state);
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&store.to_be_bytes());
        header.extend_from_slice(&generation.to_be_bytes());
        header.extend_from_slice(&crc32fast::hash(&header).to_be_bytes());
        replace(&path, |out| out.write_all(&header))?;
        Self::resume(state, HEADER_BYTES)
    }

    /// Goes on after the `bytes` that were found whole.
    pub fn resume(state: &Path, bytes: u64) -> Result<Self, StoreError> {
        let path = path(state);
        let file = private().append(true).open(&path).map_err(|e| trouble("open", &path, &e))?;
        Ok(Journal { path, file: Some(file), bytes })
    }

    /// A journal that cannot be written now (the disk is full).
    pub fn closed(state: &Path) -> Self {
        Journal { path: path(state), file: None, bytes: 0 }
    }

    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    pub fn append(&mut self, generation: u64, writes: &[Write]) -> Result<(), StoreError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let entry = encode(generation, writes);
        let appended = entry.and_then(|entry| file.write_all(&entry).map(|()| entry.len() as u64));
        match appended {
            Ok(bytes) => {
                self.bytes += bytes;
                Ok(())
            }
            Err(e) => {
                self.file = None;
                Err(trouble("append to", &self.path, &e))
            }
        }
    }
}

fn path(state: &Path) -> PathBuf {
    state.join("journal")
}

fn encode(generation: u64, writes: &[Write]) -> io::Result<Vec<u8>> {
    let body = postcard::to_stdvec(&(generation, writes)).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).ok().filter(|l| *l <= ENTRY_BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::other("a batch larger than the journal takes"))?;
    let mut entry = length.to_be_bytes().to_vec();
    entry.extend_from_slice(&crc32fast::hash(&body).to_be_bytes());
    entry.extend_from_slice(&body);
    Ok(entry)
}

/// Reads the journal as far as it is whole, oldest first; `None` where there is none whose header is whole.
pub(super) fn read(state: &Path, mut visit: impl FnMut(u64, Vec<Write>)) -> Result<Option<Found>, StoreError> {
    let path = path(state);
    let mut file = match File::open(&path) {
        Ok(file) => io::BufReader::new(file),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(trouble("read", &path, &e)),
    };
    let mut left = fs::metadata(&path).map_err(|e| trouble("read", &path, &e))?.len();
    let mut header = [0u8; HEADER_BYTES as usize];
    if file.read_exact(&mut header).is_err() {
        return Ok(None);
    }
    left = left.saturating_sub(HEADER_BYTES);
    let Some((covered, crc)) = header.split_last_chunk::<4>() else { return Ok(None) };
    let Some(numbers) = covered.strip_prefix(MAGIC.as_slice()) else { return Ok(None) };
    let (Some(store), Some(base)) = (numbers.first_chunk::<8>(), numbers.last_chunk::<8>()) else { return Ok(None) };
    if crc32fast::hash(covered).to_be_bytes() != *crc {
        return Ok(None);
    }
    let base = u64::from_be_bytes(*base);
    let mut found = Found { store: u64::from_be_bytes(*store), base, last: base, bytes: HEADER_BYTES, torn: false };
    while left > 0 {
        let Some((generation, writes, bytes)) = entry(&mut file, left) else {
            found.torn = true;
            break;
        };
        found.torn |= generation != found.last + 1;
        found.last = generation;
        found.bytes += bytes;
        left -= bytes;
        visit(generation, writes);
    }
    Ok(Some(found))
}

fn entry(file: &mut impl Read, left: u64) -> Option<(u64, Vec<Write>, u64)> {
    let mut head = [0u8; 8];
    file.read_exact(&mut head).ok()?;
    let [l0, l1, l2, l3, crc @ ..] = head;
    let length = u32::from_be_bytes([l0, l1, l2, l3]);
    if length > ENTRY_BYTES_MAX || u64::from(length) + 8 > left {
        return None;
    }
    let mut body = vec![0u8; length as usize];
    file.read_exact(&mut body).ok()?;
    if crc32fast::hash(&body).to_be_bytes() != crc {
        return None;
    }
    let (generation, writes) = postcard::from_bytes(&body).ok()?;
    Some((generation, writes, u64::from(length) + 8))
}

#[cfg(test)]
mod tests {
    use super::super::torture::Folder;
    use super::*;

    fn read_all(folder: &Folder) -> (Option<Found>, Vec<u64>) {
        let mut seen = Vec::new();
        let found = read(folder.path(), |generation, _| seen.push(generation)).unwrap();
        (found, seen)
    }

    #[test]
    fn entries_are_read_back_in_order_and_a_resumed_journal_goes_on() {
        let folder = Folder::new();
        let mut journal = Journal::begin(folder.path(), 9, 4).unwrap();
        journal.append(5, &[(b"\x01a".to_vec(), Some(b"1".to_vec()))]).unwrap();
        let bytes = journal.bytes;
        drop(journal);
        Journal::resume(folder.path(), bytes).unwrap().append(6, &[(b"\x01a".to_vec(), None)]).unwrap();
        let (found, seen) = read_all(&folder);
        assert_eq!(seen, vec![5, 6]);
        assert!(matches!(found, Some(Found { store: 9, base: 4, last: 6, torn: false, .. })));
    }

    #[test]
    fn a_journal_cut_anywhere_gives_its_whole_entries_and_says_so() {
        let folder = Folder::new();
        let mut journal = Journal::begin(folder.path(), 9, 0).unwrap();
        journal.append(1, &[(b"\x01a".to_vec(), Some(b"1".to_vec()))]).unwrap();
        let first = journal.bytes as usize;
        journal.append(2, &[(b"\x01b".to_vec(), Some(b"2".to_vec()))]).unwrap();
        let whole = fs::read(folder.path().join("journal")).unwrap();
        for cut in 0..whole.len() {
            fs::write(folder.path().join("journal"), &whole[..cut]).unwrap();
            let (found, seen) = read_all(&folder);
            assert_eq!(found.is_some(), cut >= HEADER_BYTES as usize, "cut at {cut}");
            assert_eq!(seen.len(), usize::from(cut >= first), "cut at {cut}");
            assert_eq!(found.is_some_and(|f| f.torn), cut > HEADER_BYTES as usize && cut != first, "cut at {cut}");
        }
    }
}
