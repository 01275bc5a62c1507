//! Makes one large capture out of many small ones, for `benches/replay.sh` and `benches/cost.sh`:
//! `make_capture FOLDER MEGABYTES OUT [mixed|plain|padded|vxlan|hosts]`.
//!
//! Every Ethernet capture below FOLDER is one round; rounds are repeated in time until OUT has the size asked for.
//! Within a round captures overlap, each beginning a quarter of a second after the one before, and a silence inside a
//! capture is shortened to one second. The first round is held in memory, so FOLDER should not be larger than that.
//!
//! `mixed` (the default) takes every Ethernet capture, `plain` those without a tag, a tunnel or a packet seen twice.
//! Of these `vxlan` wraps every frame in VXLAN from one host, `hosts` from one of sixteen by the sender's MAC, and `padded`
//! puts as many bytes behind each frame as those put before it; these three go 32 times as fast. All hold the same packets.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use eastwatch::capture::{Batch, Files, Filled, Source};
use eastwatch::decode::{DecodeConfig, Locator, Twins, Verdict};
use eastwatch::model::{LinkType, PathKind, Segment, Timestamp};

/// Between the beginnings of two captures.
const STAGGER_NS: i64 = 250_000_000;
const SILENCE_NS_MAX: i64 = 1_000_000_000;
/// Between the last packet of a round and the first of the next.
const PAUSE_NS: i64 = 1_000_000_000;
/// What is compared with a tunnel goes by so much faster: some 6,000 packets a second, for a tunnel costs something a
/// second and pair of VMs, too, and no host sends so little that this is what counts.
const HASTE: i64 = 32;
/// 2026-01-01T00:00:00Z.
const BEGIN_NS: i64 = 1_767_225_600_000_000_000;
const SNAPLEN: u32 = 262_144;

struct Frame {
    ns: i64,
    wire_len: u32,
    bytes: Vec<u8>,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, megabytes, out, rest @ ..] = args.as_slice() else { return usage() };
    let how = match rest {
        [] => How::Mixed,
        [how] => match how.as_str() {
            "mixed" => How::Mixed,
            "plain" => How::Plain,
            "padded" => How::Padded,
            "vxlan" => How::Vxlan { hosts: 1 },
            "hosts" => How::Vxlan { hosts: 16 },
            _ => return usage(),
        },
        _ => return usage(),
    };
    let Ok(megabytes) = megabytes.parse::<u64>() else {
        eprintln!("make_capture: `{megabytes}` is not a number of megabytes");
        return ExitCode::FAILURE;
    };
    match make(Path::new(folder), megabytes << 20, Path::new(out), how) {
        Ok(told) => {
            println!("{told}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("make_capture: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("make_capture FOLDER MEGABYTES OUT [mixed|plain|padded|vxlan|hosts]");
    ExitCode::FAILURE
}

/// Which captures, and how their frames are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Mixed,
    Plain,
    Padded,
    Vxlan { hosts: u8 },
}

fn make(folder: &Path, bytes_wanted: u64, out: &Path, how: How) -> io::Result<String> {
    let mut paths = Vec::new();
    captures(folder, &mut paths)?;
    paths.sort();
    let mut round = Vec::new();
    let (mut used, mut left_out) = (0, 0);
    let haste = if matches!(how, How::Padded | How::Vxlan { .. }) { HASTE } else { 1 };
    for path in &paths {
        let frames = read(path);
        if frames.is_empty() || (how != How::Mixed && !plain(&frames)) {
            left_out += 1;
            continue;
        }
        place(frames, used * STAGGER_NS, &mut round);
        used += 1;
    }
    // Stable: frames of one time stay in the order of the captures' names.
    round.sort_by_key(|frame: &Frame| frame.ns);
    round.iter_mut().for_each(|frame| frame.ns /= haste);
    let Some(last) = round.last() else {
        return Err(io::Error::other(format!("no Ethernet capture below {}", folder.display())));
    };
    let round_ns = last.ns + PAUSE_NS;
    let mut file = BufWriter::with_capacity(1 << 20, File::create(out)?);
    let mut written = header(&mut file)?;
    let (mut rounds, mut packets) = (0i64, 0u64);
    let mut counted = written;
    while counted < bytes_wanted {
        for frame in &round {
            let ns = BEGIN_NS + rounds * round_ns + frame.ns;
            counted += 16 + frame.bytes.len() as u64;
            written += match how {
                How::Vxlan { hosts } => record(&mut file, ns, &in_vxlan(frame, hosts))?,
                How::Padded => record(&mut file, ns, &padded(frame))?,
                How::Mixed | How::Plain => record(&mut file, ns, frame)?,
            };
        }
        packets += round.len() as u64;
        rounds += 1;
    }
    file.flush()?;
    Ok(format!(
        "{}: {written} bytes, {packets} packets, {rounds} rounds of {used} captures over {} s each \
         ({left_out} captures left out)",
        out.display(),
        round_ns / 1_000_000_000
    ))
}

fn captures(folder: &Path, out: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            captures(&path, out)?;
        } else if path.extension().is_some_and(|e| e == "pcap" || e == "pcapng" || e == "cap") {
            out.push(path);
        }
    }
    Ok(())
}

/// The Ethernet frames of a capture, as far as it can be read.
fn read(path: &Path) -> Vec<Frame> {
    let mut frames = Vec::new();
    let Ok(mut source) = Files::open(&[path.to_owned()], None) else { return frames };
    let mut batch = Batch::new();
    loop {
        let filled = source.fill(&mut batch);
        for frame in batch.frames.iter().filter(|f| f.link == LinkType::ETHERNET) {
            let bytes = batch.get(frame).to_vec();
            frames.push(Frame { ns: frame.time.ns(), wire_len: frame.wire_len, bytes });
        }
        if !matches!(filled, Ok(Filled::Frames | Filled::Idle)) {
            return frames;
        }
    }
}

/// No frame has a tag or a tunnel or cannot be read, each is the same inside of VXLAN, and none came twice: then what
/// `plain` and `vxlan` cost differs by the tunnel alone.
fn plain(frames: &[Frame]) -> bool {
    let (mut here, mut inside, mut twins) = (locator(), locator(), Twins::new());
    let mut now = Timestamp::ZERO;
    frames.iter().all(|frame| {
        let time = Timestamp::from_ns(frame.ns);
        now = now.max(time);
        let wrapped = in_vxlan(frame, 1);
        let within = inside.locate(LinkType::ETHERNET, &wrapped.bytes, wrapped.wire_len, time);
        let Ok(Some(at)) = here.locate(LinkType::ETHERNET, &frame.bytes, frame.wire_len, time) else { return false };
        at.segment == Segment::UNTAGGED
            && at.host_hint.is_none()
            && at.path.kind == PathKind::Wire
            && matches!(within, Ok(Some(within)) if within.bytes == at.bytes && within.host_hint.is_some())
            && matches!(twins.take(0, time, now, &at), Verdict::First(_))
    })
}

fn locator() -> Locator {
    Locator::new(DecodeConfig::default())
}

/// Ethernet, IPv4, UDP, VXLAN.
const AROUND: usize = 50;

/// The frame with link padding.
fn padded(frame: &Frame) -> Frame {
    let mut bytes = frame.bytes.clone();
    bytes.resize(bytes.len() + AROUND, 0);
    Frame { ns: frame.ns, wire_len: frame.wire_len + AROUND as u32, bytes }
}

/// The frame as a host with an overlay sends it: VNI 5001, from 10.99.0.1 to 10.99.1.1 and so on, no checksum.
fn in_vxlan(frame: &Frame, hosts: u8) -> Frame {
    let sum = |macs: Option<&[u8]>| macs.unwrap_or_default().iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    let (to, from) = (sum(frame.bytes.get(..6)), sum(frame.bytes.get(6..12)));
    let len = |before: usize| ((frame.wire_len as usize + AROUND - before).min(65_535) as u16).to_be_bytes();
    let mut bytes = vec![2, 0, 0, 9, 1, to % hosts, 2, 0, 0, 9, 0, from % hosts, 8, 0, 0x45, 0];
    bytes.extend(len(14));
    bytes.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 99, 0, 1 + from % hosts, 10, 99, 1, 1 + to % hosts]);
    bytes.extend([0xc0, from, 0x12, 0xb5]);
    bytes.extend(len(34));
    bytes.extend([0, 0, 8, 0, 0, 0, 0, 0x13, 0x89, 0]);
    bytes.extend(&frame.bytes);
    Frame { ns: frame.ns, wire_len: frame.wire_len + AROUND as u32, bytes }
}

/// Moves a capture to its place in the round.
fn place(frames: Vec<Frame>, begin_ns: i64, round: &mut Vec<Frame>) {
    let mut before = frames.first().map_or(0, |f| f.ns);
    let mut ns = begin_ns;
    for frame in frames {
        ns += (frame.ns - before).clamp(0, SILENCE_NS_MAX);
        before = frame.ns;
        round.push(Frame { ns, ..frame });
    }
}

fn header(out: &mut impl Write) -> io::Result<u64> {
    out.write_all(&0xa1b2_c3d4u32.to_le_bytes())?;
    out.write_all(&2u16.to_le_bytes())?;
    out.write_all(&4u16.to_le_bytes())?;
    out.write_all(&[0; 8])?;
    out.write_all(&SNAPLEN.to_le_bytes())?;
    out.write_all(&u32::from(LinkType::ETHERNET.0).to_le_bytes())?;
    Ok(24)
}

fn record(out: &mut impl Write, ns: i64, frame: &Frame) -> io::Result<u64> {
    let len = frame.bytes.len() as u32;
    for word in [(ns / 1_000_000_000) as u32, (ns % 1_000_000_000 / 1_000) as u32, len, frame.wire_len.max(len)] {
        out.write_all(&word.to_le_bytes())?;
    }
    out.write_all(&frame.bytes)?;
    Ok(16 + u64::from(len))
}
