//! One record as it lies on disk: 14 bytes of header, then the body.
//!
//! A body has at most 16 MiB; a larger one is refused when it is written. A record that fails any check is
//! *bad*: the whole store is then damaged (see `open.rs`), because the checksum of sled has let it through.
//!
//! | bytes | what |
//! |---|---|
//! | 0–1 | magic `EW` |
//! | 2 | format of this header, 1 |
//! | 3 | 0 |
//! | 4–5 | schema version of the body, big endian, from the record's kind |
//! | 6–9 | length of the body |
//! | 10–13 | CRC-32 over the key, bytes 0–9 and the body: a record under another's key is bad too |

use super::{Kind, Migration, StoreError};

const MAGIC: [u8; 4] = [b'E', b'W', 1, 0];
pub(super) const HEADER_BYTES: usize = 14;
/// A profile is about 16 KiB; a thousand times that is a mistake of ours, not a record.
pub(super) const BODY_BYTES_MAX: usize = 16 << 20;

pub(super) fn write(key: &[u8], version: u16, body: &[u8]) -> Result<Vec<u8>, StoreError> {
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= BODY_BYTES_MAX).ok_or_else(|| {
        StoreError::Malformed(format!("a record of {} bytes is beyond the {BODY_BYTES_MAX} that are kept", body.len()))
    })?;
    let mut record = Vec::with_capacity(HEADER_BYTES + body.len());
    record.extend_from_slice(&MAGIC);
    record.extend_from_slice(&version.to_be_bytes());
    record.extend_from_slice(&length.to_be_bytes());
    let crc = checksum(key, &record, body);
    record.extend_from_slice(&crc.to_be_bytes());
    record.extend_from_slice(body);
    Ok(record)
}

/// The schema version and the body, or what is wrong with the record.
pub(super) fn read<'a>(key: &[u8], record: &'a [u8]) -> Result<(u16, &'a [u8]), &'static str> {
    let (header, body) = record.split_at_checked(HEADER_BYTES).ok_or("a record is shorter than its header")?;
    let (covered, crc) = header.split_at_checked(HEADER_BYTES - 4).ok_or("a record is shorter than its header")?;
    let &[m0, m1, m2, m3, v0, v1, l0, l1, l2, l3] = covered else { return Err("a record is shorter than its header") };
    if [m0, m1, m2, m3] != MAGIC {
        return Err("a record lacks its magic");
    }
    if u32::from_be_bytes([l0, l1, l2, l3]) as usize != body.len() {
        return Err("a record has another length than it says");
    }
    if checksum(key, covered, body).to_be_bytes() != crc {
        return Err("a record fails its checksum");
    }
    Ok((u16::from_be_bytes([v0, v1]), body))
}

/// The body in the schema that `kind` asks for, migrated where it is older.
pub(super) fn read_as(kind: &Kind, key: &[u8], record: &[u8], migrations: &[Migration]) -> Result<Vec<u8>, StoreError> {
    let (mut version, body) =
        read(key, record).map_err(|e| StoreError::Malformed(format!("a {} record is bad: {e}", kind.name)))?;
    if version > kind.version {
        return Err(StoreError::Newer(format!(
            "the state holds {} records of version {version}; this eastwatch reads up to {}: run the newer eastwatch, \
             or choose another --state",
            kind.name, kind.version
        )));
    }
    let mut body = body.to_vec();
    while version < kind.version {
        let step = migrations.iter().find(|m| m.tag == kind.tag && m.from == version).ok_or_else(|| {
            StoreError::Malformed(format!(
                "a {} record of version {version} cannot be brought to version {}: export it with the eastwatch that wrote it",
                kind.name, kind.version
            ))
        })?;
        body = (step.step)(&body).map_err(|e| {
            StoreError::Malformed(format!("a {} record of version {version} cannot be migrated: {e}", kind.name))
        })?;
        version += 1;
    }
    Ok(body)
}

fn checksum(key: &[u8], header: &[u8], body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key);
    crc.update(header);
    crc.update(body);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    static NAMES: Kind = Kind { tag: 7, name: "name", version: 3 };

    #[test]
    fn every_single_flipped_bit_of_a_record_is_noticed() {
        let record = write(b"\x07k", 1, b"body").unwrap();
        assert_eq!(read(b"\x07k", &record), Ok((1, &b"body"[..])));
        for bit in 0..record.len() * 8 {
            let mut bad = record.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read(b"\x07k", &bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_record_cut_anywhere_or_under_another_key_is_bad() {
        let record = write(b"\x07k", 1, b"body").unwrap();
        for cut in 0..record.len() {
            assert!(read(b"\x07k", &record[..cut]).is_err(), "cut at {cut}");
        }
        assert!(read(b"\x07l", &record).is_err());
    }

    #[test]
    fn an_older_record_is_migrated_step_by_step() {
        let steps = [
            Migration { tag: 7, from: 2, step: |b| Ok([b, b"-three"].concat()) },
            Migration { tag: 7, from: 1, step: |b| Ok([b, b"-two"].concat()) },
        ];
        let record = write(b"\x07k", 1, b"one").unwrap();
        assert_eq!(read_as(&NAMES, b"\x07k", &record, &steps), Ok(b"one-two-three".to_vec()));
        assert!(matches!(read_as(&NAMES, b"\x07k", &record, &[]), Err(StoreError::Malformed(_))));
    }

    #[test]
    fn a_record_of_a_newer_eastwatch_is_refused_by_name() {
        let record = write(b"\x07k", 4, b"x").unwrap();
        let error = read_as(&NAMES, b"\x07k", &record, &[]).unwrap_err();
        assert!(matches!(&error, StoreError::Newer(text) if text.contains("name records of version 4")), "{error}");
    }
}
