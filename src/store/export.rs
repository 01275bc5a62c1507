//! `STATE/export.ewx`: all records in one plain file, from which a damaged store is rebuilt. It is written beside
//! the old one and renamed, so there is always one whole export; it takes as many bytes as the live records.
//!
//! `EWexport`, format byte, then for each record: length of key, length of record (4 bytes each, big endian), key,
//! record. The census comes first. At the end two zero lengths and the CRC-32 of everything before it.
//! Reading ends at the first length that cannot be; a record that fails its own checksum is left out and counted.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use super::batch::OWN_TAG;
use super::census::{self, Census};
use super::files::{replace, trouble};
use super::sled::{SledFile, Trouble};
use super::{StoreError, record};

const MAGIC: &[u8; 9] = b"EWexport\x01";
/// Longer than any key (tag + 1 KiB of id).
const KEY_BYTES_MAX: u32 = 4096;

/// What an export holds, and whether it is all there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// `None` where even the first record is unreadable.
    pub census: Option<Census>,
    /// Recounted from the records that could be read.
    pub counted: Census,
    /// The end was reached, and every checksum is right.
    pub whole: bool,
}

pub(super) fn path(state: &Path) -> PathBuf {
    state.join("export.ewx")
}

/// Writes all records of `store` beside the export before it, then takes its place.
pub(super) fn write(state: &Path, store: &SledFile) -> Result<(), Trouble> {
    let mut inside = Ok(());
    let written = replace(&path(state), |out| {
        let mut out = Summed { out, crc: crc32fast::Hasher::new() };
        out.put(MAGIC)?;
        let mut result = Ok(());
        inside = store.each(b"", |key, record| {
            if result.is_ok() {
                result = entry(&mut out, key, record);
            }
        });
        result?;
        if inside.is_err() {
            return Err(io::Error::other("the store could not be read"));
        }
        out.put(&[0; 8])?;
        let crc = out.crc.clone().finalize();
        out.out.write_all(&crc.to_be_bytes())
    });
    inside.and(written.map_err(Trouble::Outside))
}

/// Reads what can be read, in order of key; `None` where there is no export.
pub(super) fn read(state: &Path, mut visit: impl FnMut(&[u8], &[u8])) -> Result<Option<Found>, StoreError> {
    let path = path(state);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(trouble("read", &path, &e)),
    };
    let mut input = Summing { input: BufReader::with_capacity(64 << 10, file), crc: crc32fast::Hasher::new() };
    let mut found = Found::default();
    let mut magic = [0u8; MAGIC.len()];
    if input.take(&mut magic).is_err() || magic != *MAGIC {
        return Ok(Some(found));
    }
    let mut sound = true;
    let mut key = Vec::new();
    let mut bytes = Vec::new();
    loop {
        let mut lengths = [0u8; 8];
        if input.take(&mut lengths).is_err() {
            break;
        }
        if lengths == [0; 8] {
            let crc = input.crc.clone().finalize().to_be_bytes();
            let mut end = [0u8; 4];
            let mut more = [0u8; 1];
            let ended = input.take(&mut end).is_ok() && input.take(&mut more).is_err();
            found.whole = sound && ended && crc == end && found.census.is_some();
            break;
        }
        let [k0, k1, k2, k3, r0, r1, r2, r3] = lengths;
        let key_length = u32::from_be_bytes([k0, k1, k2, k3]);
        let length = u32::from_be_bytes([r0, r1, r2, r3]) as usize;
        if key_length > KEY_BYTES_MAX || length > record::HEADER_BYTES + record::BODY_BYTES_MAX {
            break;
        }
        key.resize(key_length as usize, 0);
        bytes.resize(length, 0);
        if input.take(&mut key).is_err() || input.take(&mut bytes).is_err() {
            break;
        }
        if record::read(&key, &bytes).is_err() {
            sound = false;
        } else if key == census::KEY {
            found.census = Census::from_record(&bytes);
        } else if key.first() != Some(&OWN_TAG) {
            found.counted.add(&key, &bytes);
            visit(&key, &bytes);
        }
    }
    if let Some(census) = &found.census {
        found.whole &= census.same_records(&found.counted);
        found.counted.names_from(census);
    }
    Ok(Some(found))
}

fn entry(out: &mut Summed<'_>, key: &[u8], record: &[u8]) -> io::Result<()> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(io::Error::other);
    out.put(&length(key)?.to_be_bytes())?;
    out.put(&length(record)?.to_be_bytes())?;
    out.put(key)?;
    out.put(record)
}

struct Summed<'a> {
    out: &'a mut dyn Write,
    crc: crc32fast::Hasher,
}

impl Summed<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc.update(bytes);
        self.out.write_all(bytes)
    }
}

struct Summing<R> {
    input: R,
    crc: crc32fast::Hasher,
}

impl<R: Read> Summing<R> {
    fn take(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.input.read_exact(bytes)?;
        self.crc.update(bytes);
        Ok(())
    }
}
