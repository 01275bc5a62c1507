//! `STATE/meta.json`: what the store must hold, written outside it after each export. One line of JSON that ends
//! in a CRC-32 of all before it; one that fails it is told and written anew.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::census::Census;
use super::files;
use super::{StoreError, files::trouble};

/// Format of the whole state directory. Raise it when an older eastwatch must not touch it.
pub(super) const FORMAT: u32 = 1;
const FILE: &str = "meta.json";
/// 255 kinds of record take a tenth of it; a longer file fails its checksum.
const META_BYTES_MAX: u64 = 256 << 10;
const SEAL: &str = ",\"crc32\":\"";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    pub format: u32,
    /// The sentinel: the same value as in the census inside the store.
    pub store: String,
    pub generation: u64,
    /// Number of the folder inside `store/` that is in use.
    pub folder: u64,
    /// Size of that folder when it was last written from the beginning.
    pub folder_bytes: u64,
    pub records: BTreeMap<String, u64>,
    pub bytes: u64,
    pub digest: String,
}

/// What `meta.json` turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Meta(Meta),
    Missing,
    Bad,
}

impl Meta {
    pub fn new(census: &Census, folder: u64, folder_bytes: u64) -> Self {
        Meta {
            format: FORMAT,
            store: format!("{:016x}", census.store),
            generation: census.generation,
            folder,
            folder_bytes,
            records: census.counts(),
            bytes: census.bytes,
            digest: format!("{:016x}", census.digest),
        }
    }

    pub fn store_id(&self) -> Option<u64> {
        u64::from_str_radix(&self.store, 16).ok()
    }

    /// Is this what was written of `census`?
    pub fn agrees(&self, census: &Census) -> bool {
        self.records == census.counts() && self.digest == format!("{:016x}", census.digest)
    }

    pub fn write(&self, state: &Path) -> Result<(), StoreError> {
        let text = serde_json::to_string(self).map_err(|e| StoreError::Malformed(format!("{FILE}: {e}")))?;
        let open = text.strip_suffix('}').unwrap_or(&text);
        let crc = crc32fast::hash(open.as_bytes());
        files::replace(&state.join(FILE), |out| writeln!(out, "{open}{SEAL}{crc:08x}\"}}"))
    }

    /// Only a permission or disk error is an error, and a meta of a newer format.
    pub fn read(state: &Path) -> Result<Found, StoreError> {
        let path = state.join(FILE);
        let mut bytes = Vec::new();
        match fs::File::open(&path).and_then(|file| file.take(META_BYTES_MAX).read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Missing),
            Err(e) => return Err(trouble("read", &path, &e)),
        }
        let Some((open, crc)) = std::str::from_utf8(&bytes).ok().and_then(|t| t.rsplit_once(SEAL)) else {
            return Ok(Found::Bad);
        };
        if crc.trim_end() != format!("{:08x}\"}}", crc32fast::hash(open.as_bytes())) {
            return Ok(Found::Bad);
        }
        // The format is read first: a newer one may have other fields.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let text = format!("{open}}}");
        match serde_json::from_str::<Format>(&text) {
            Ok(found) if found.format > FORMAT => Err(StoreError::Newer(format!(
                "the state {} was written by a newer eastwatch (format {}; this one reads up to {FORMAT}): run the \
                 newer one, or choose another --state",
                state.display(),
                found.format
            ))),
            _ => Ok(serde_json::from_str(&text).map_or(Found::Bad, Found::Meta)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::torture::Folder;
    use super::*;

    #[test]
    fn what_is_written_is_read_and_any_flipped_bit_is_noticed() {
        let folder = Folder::new();
        let meta = Meta::new(&Census::of_new_store(), 1, 0);
        meta.write(folder.path()).unwrap();
        assert_eq!(Meta::read(folder.path()), Ok(Found::Meta(meta)));
        let path = folder.path().join(FILE);
        let good = fs::read(&path).unwrap();
        for bit in (0..(good.len() - 1) * 8).step_by(7) {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bad).unwrap();
            assert_eq!(Meta::read(folder.path()), Ok(Found::Bad), "bit {bit}");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(Meta::read(folder.path()), Ok(Found::Missing));
    }

    #[test]
    fn a_newer_format_is_an_error_not_damage() {
        let folder = Folder::new();
        let meta = Meta { format: FORMAT + 1, ..Meta::new(&Census::default(), 1, 0) };
        meta.write(folder.path()).unwrap();
        assert!(matches!(Meta::read(folder.path()), Err(StoreError::Newer(text)) if text.contains("newer eastwatch")));
    }
}
