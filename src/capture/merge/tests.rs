//! The merge on small captures in a folder of each test's own.

use super::*;

/// A folder of its own for each test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("eastwatch-merge-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// Writes a capture of one-byte frames.
    fn capture(&self, name: &str, frames: &[(u32, u8)]) -> PathBuf {
        let mut out = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1].map(u32::to_le_bytes).concat();
        for (seconds, byte) in frames {
            out.extend([*seconds, 0, 1, 1].map(u32::to_le_bytes).concat());
            out.push(*byte);
        }
        self.write(name, &out)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The frames' bytes with their sources' file names, and the error that came before the end.
fn read(files: &mut Files) -> (Vec<(u8, String)>, Option<String>) {
    let (mut seen, mut error) = (Vec::new(), None);
    let mut batch = Batch::new();
    loop {
        match files.fill(&mut batch) {
            Ok(Filled::Frames | Filled::Idle) => {
                for frame in &batch.frames {
                    let name = files.source_name(frame.source).rsplit('/').next().unwrap_or_default();
                    seen.push((*batch.get(frame).first().unwrap(), name.to_owned()));
                }
            }
            Ok(Filled::End) => return (seen, error),
            Err(e) => error = Some(e.to_string()),
        }
    }
}

fn bytes(seen: &[(u8, String)]) -> Vec<u8> {
    seen.iter().map(|(byte, _)| *byte).collect()
}

#[test]
fn files_are_one_stream_in_time_order_and_ties_go_by_place() {
    let folder = Folder::new("order");
    let paths = [
        folder.capture("late", &[(5, 3), (5, 4), (9, 7)]),
        folder.capture("early", &[(1, 1), (5, 5), (8, 6)]),
        folder.capture("back", &[(3, 2), (2, 20)]),
    ];
    let mut files = Files::open(&paths, None).unwrap();
    let (seen, error) = read(&mut files);
    assert_eq!((bytes(&seen), error), (vec![1, 2, 20, 3, 4, 5, 6, 7], None));
    assert_eq!(seen.first().map(|(_, name)| name.as_str()), Some("early"));
    assert_eq!(seen.last().map(|(_, name)| name.as_str()), Some("late"));
    let progress = files.progress();
    assert_eq!((Some(progress.bytes_read), progress.frames), (progress.bytes_total, 8));
}

#[test]
fn a_thousand_files_in_a_row_need_few_open_at_once() {
    let folder = Folder::new("many");
    let paths: Vec<_> = (0..1_000).map(|i| folder.capture(&format!("{i}"), &[(1_000 - i, 7)])).collect();
    let mut files = Files::open(&paths, None).unwrap();
    assert!(files.open <= FILES_HELD_MAX);
    let (seen, error) = read(&mut files);
    assert_eq!((seen.len(), error, files.open), (1_000, None, 0));
    assert_eq!(seen.first().map(|(_, name)| name.as_str()), Some("999"));
}

#[test]
fn a_file_too_many_at_one_time_is_told_and_the_others_read() {
    let folder = Folder::new("overlap");
    let paths: Vec<_> = (0..=FILES_OPEN_MAX).map(|i| folder.capture(&format!("{i}"), &[(1, 7), (9, 7)])).collect();
    let (seen, error) = read(&mut Files::open(&paths, None).unwrap());
    assert_eq!(seen.len(), 2 * FILES_OPEN_MAX);
    assert!(error.is_some_and(|e| e.contains("overlap in time")));
}

#[test]
fn a_cut_file_is_told_after_all_that_could_be_read() {
    let folder = Folder::new("cut");
    let whole = folder.capture("whole", &[(1, 1), (9, 4)]);
    let mut cut = std::fs::read(folder.capture("cut", &[(2, 2), (3, 3), (4, 9)])).unwrap();
    cut.pop();
    let cut = folder.write("cut", &cut);
    let mut files = Files::open(&[whole, cut], None).unwrap();
    let (seen, error) = read(&mut files);
    assert_eq!(bytes(&seen), [1, 2, 3, 4]);
    let error = error.unwrap();
    assert!(error.contains("cut at byte 58: the file is cut short"), "{error}");
    assert_eq!(files.faults().len(), 1);
}

#[test]
fn compressed_files_are_known_by_their_bytes_and_by_their_digest() {
    let folder = Folder::new("compressed");
    let plain = std::fs::read(folder.capture("plain", &[(1, 1), (2, 2)])).unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, &plain).unwrap();
    let gz = folder.write("no-suffix", &gz.finish().unwrap());
    let zst = folder.write("other", &zstd::encode_all(&plain[..], 1).unwrap());
    for path in [&gz, &zst] {
        let (seen, error) = read(&mut Files::open(std::slice::from_ref(path), None).unwrap());
        assert_eq!((bytes(&seen), error), (vec![1, 2], None));
    }
    let mut files = Files::open(&[gz.clone(), zst.clone(), gz.clone()], None).unwrap();
    read(&mut files);
    let expected = [gz.clone(), zst, gz].map(|path| Content {
        digest: super::super::digest(&path).unwrap(),
        bytes: super::super::stored_bytes(&path).unwrap().unwrap(),
        path,
    });
    let mut contents = files.contents().to_vec();
    contents.sort_by(|a, b| a.path.cmp(&b.path));
    let mut sorted = expected.to_vec();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    assert_eq!(contents, sorted);
    assert!(expected.first().map(|c| c.digest) == expected.last().map(|c| c.digest));
    assert!(expected.first().map(|c| c.digest) != expected.get(1).map(|c| c.digest));
}

#[test]
fn a_compressed_file_cut_short_keeps_what_was_decoded() {
    let folder = Folder::new("half");
    // A byte that compresses badly, so that half of the stored bytes are about half of the frames.
    let frames: Vec<_> = (0..100_000u32).map(|i| (i / 100, (i.wrapping_mul(2_654_435_761) >> 13) as u8)).collect();
    let plain = std::fs::read(folder.capture("plain", &frames)).unwrap();
    let mut stored = zstd::encode_all(&plain[..], 1).unwrap();
    stored.truncate(stored.len() / 2);
    let (seen, error) = read(&mut Files::open(&[folder.write("half", &stored)], None).unwrap());
    assert!((10_000..90_000).contains(&seen.len()), "{}", seen.len());
    assert!(error.is_some_and(|e| e.contains("cut short")));
}

#[test]
fn what_cannot_be_opened_is_one_line_before_anything_is_read() {
    let folder = Folder::new("refused");
    let good = folder.capture("good", &[(1, 1)]);
    let empty = folder.write("empty", b"");
    for (path, says) in [
        (folder.0.clone(), "is a directory"),
        (folder.0.join("missing"), "no such file"),
        (empty, "is empty"),
        (folder.write("text", b"hello, world, this is text"), "is not a capture"),
    ] {
        let error = Files::open(&[good.clone(), path], None).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains(says) && error.lines().count() == 1, "{error}");
    }
}

#[test]
fn frames_that_fail_the_filter_are_counted_and_left_out() {
    let folder = Folder::new("filter");
    let path = folder.capture("one", &[(1, 1), (2, 2)]);
    let mut files = Files::open(std::slice::from_ref(&path), Some("greater 2")).unwrap();
    assert_eq!(read(&mut files), (vec![], None));
    let mut report = Vec::new();
    files.counters(&mut report);
    assert_eq!(report, [("capture.filtered", 2)]);
    assert!(Files::open(&[path], Some("greater than")).is_err());
}
