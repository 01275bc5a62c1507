//! One capture file: whichever format it is, its frames one after another.
//! Bound: one record in the window at a time. A file that ends inside a record, or that is damaged beyond finding
//! the next one, yields what stood before and then the fault.

use std::io;
use std::path::Path;

use crate::model::{LinkType, Timestamp};

use super::CaptureCounters;
use super::error::CaptureError;
use super::input::Input;
use super::pcap_file::PcapFile;
use super::pcapng_file::PcapngFile;

/// The frame that a reader stands at; its bytes lie in the reader's window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub time: Timestamp,
    /// Of the frame's bytes, from the beginning of the record.
    pub start: usize,
    pub len: usize,
    pub wire_len: u32,
    pub link: LinkType,
    /// Counted over the whole file.
    pub interface: u32,
    /// Of the whole record, to step over it.
    pub record_len: u64,
}

/// Why reading a file ended early.
#[derive(Debug)]
pub(super) enum Fault {
    /// It ends inside a record.
    Cut,
    /// A record is broken and no other was found behind it.
    Lost,
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Io(error)
    }
}

pub(super) struct Reader {
    input: Input,
    format: Format,
    head: Option<Head>,
    pub counters: CaptureCounters,
    fault: Option<CaptureError>,
}

enum Format {
    Pcap(PcapFile),
    Pcapng(PcapngFile),
}

impl Reader {
    /// Opens a capture and reads its header; no frame yet.
    ///
    /// # Errors
    /// It cannot be opened, is empty, or is no capture.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        Self::new(Input::open(path)?)
    }

    pub fn new(mut input: Input) -> Result<Self, CaptureError> {
        let format = match Format::open(&mut input) {
            Ok(Some(format)) => format,
            Ok(None) => return Err(no_capture(&input)),
            Err(fault) => return Err(describe(&fault, &input)),
        };
        Ok(Reader { input, format, head: None, counters: CaptureCounters::default(), fault: None })
    }

    /// Steps to the next frame; false at the end or at a fault.
    pub fn advance(&mut self) -> bool {
        if self.fault.is_some() {
            return false;
        }
        if let Some(head) = self.head.take() {
            // The whole record is in the window, but for options behind a packet block's data: skip covers both.
            if let Err(error) = self.input.skip(head.record_len) {
                self.fault = Some(describe(&Fault::Io(error), &self.input));
                return false;
            }
        }
        let next = match &mut self.format {
            Format::Pcap(pcap) => pcap.next(&mut self.input, &mut self.counters),
            Format::Pcapng(pcapng) => pcapng.next(&mut self.input, &mut self.counters),
        };
        match next {
            Ok(head) => self.head = head,
            Err(fault) => self.fault = Some(describe(&fault, &self.input)),
        }
        self.head.is_some()
    }

    /// The frame that [`Reader::advance`] came to.
    pub fn head(&self) -> Option<(Head, &[u8])> {
        let head = self.head?;
        Some((head, self.input.bytes().get(head.start..head.start + head.len)?))
    }

    /// Could [`Reader::advance`] have to wait for whoever writes into the pipe?
    pub fn may_wait(&self) -> bool {
        let behind = self.head.map_or(0, |h| h.record_len as usize);
        let window = self.input.bytes().get(behind..).unwrap_or_default();
        self.input.is_stream()
            && !match &self.format {
                Format::Pcap(pcap) => pcap.is_buffered(window),
                Format::Pcapng(pcapng) => pcapng.is_buffered(window),
            }
    }

    /// Is there more in the window than the record it stands at?
    pub fn holds_more(&self) -> bool {
        self.input.bytes().len() > self.head.map_or(0, |head| head.record_len as usize)
    }

    /// What ended the file early, once.
    pub fn take_fault(&mut self) -> Option<CaptureError> {
        self.fault.take()
    }

    pub fn input_mut(&mut self) -> &mut Input {
        &mut self.input
    }

    pub fn input(&self) -> &Input {
        &self.input
    }

    /// As the capturing system called it, else by its place in its section: the same in every file of one capture.
    pub fn interface_name(&self, interface: u32) -> Option<String> {
        match &self.format {
            Format::Pcap(_) => None,
            Format::Pcapng(pcapng) => Some(pcapng.name_in_section(interface)),
        }
    }

    /// `FILE`, or `FILE:INTERFACE` where the format names interfaces.
    /// The name that a pcapng file gives this interface.
    pub fn interface(&self, interface: u32) -> Option<&str> {
        match &self.format {
            Format::Pcap(_) => None,
            Format::Pcapng(pcapng) => pcapng.given_name(interface),
        }
    }

    pub fn source_name(&self, interface: u32) -> String {
        match &self.format {
            Format::Pcap(_) => self.input.name().to_owned(),
            Format::Pcapng(pcapng) => format!("{}:{}", self.input.name(), pcapng.interface_name(interface)),
        }
    }
}

impl Format {
    fn open(input: &mut Input) -> Result<Option<Self>, Fault> {
        if let Some(pcapng) = PcapngFile::open(input)? {
            return Ok(Some(Format::Pcapng(pcapng)));
        }
        Ok(PcapFile::open(input)?.map(Format::Pcap))
    }
}

/// The magic is nobody's we know: what it may be instead, and what to do.
fn no_capture(input: &Input) -> CaptureError {
    let bytes = input.bytes();
    let name = input.name();
    let (what, mend) = match bytes {
        [] => ("holds nothing", "capture again, or leave it out"),
        [0xfd, b'7', b'z', b'X', ..] => ("is compressed with xz", "decompress it: `xz -dc FILE | eastwatch read -`"),
        [b'B', b'Z', b'h', ..] => ("is compressed with bzip2", "decompress it: `bzip2 -dc FILE | eastwatch read -`"),
        [0x04, 0x22, 0x4d, 0x18, ..] => ("is compressed with lz4", "decompress it: `lz4 -dc FILE | eastwatch read -`"),
        [b'P', b'K', 3, 4, ..] => ("is a zip archive", "unpack it first"),
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] if input.is_compressed() => {
            ("is compressed twice", "decompress it once")
        }
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => ("is a compressed stream", "send it as it was captured"),
        [b's', b'n', b'o', b'o', b'p', ..] | [b'R', b'T', b'S', b'S', ..] | [b'G', b'M', b'B', b'U', ..] => {
            ("is a capture in another format", "convert it: `editcap -F pcapng FILE OUT.pcapng`")
        }
        _ => {
            let begin: Vec<_> = bytes.iter().take(4).map(|b| format!("{b:02x}")).collect();
            let what = format!("is not a capture: it begins with {}", begin.join(" "));
            return CaptureError::new(name, what, "give pcap or pcapng, plain or as .gz or .zst");
        }
    };
    CaptureError::new(name, what, mend)
}

fn describe(fault: &Fault, input: &Input) -> CaptureError {
    let decoded = if input.is_compressed() { " (decompressed)" } else { "" };
    let place = format!("{} at byte {}{decoded}", input.name(), input.offset());
    match fault {
        Fault::Cut => CaptureError::new(
            place,
            "the file is cut short inside a record",
            "what stood before it was read; copy the file anew for the rest",
        ),
        Fault::Lost => CaptureError::new(
            place,
            "a record is damaged and no sound one follows within 512 KiB",
            "what stood before it was read; copy the file anew for the rest",
        ),
        Fault::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => CaptureError::new(
            place,
            "the compressed file is cut short",
            "what stood before it was read; copy the file anew for the rest",
        ),
        Fault::Io(error) if input.is_compressed() => CaptureError::new(
            place,
            format!("decompression failed: {error}"),
            "what stood before it was read; check the file with `gzip -t` or `zstd -t`",
        ),
        Fault::Io(error) => CaptureError::unreadable(&place, error),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn input_of(bytes: Vec<u8>) -> Input {
        Input::new("test.pcap".to_owned(), Box::new(io::Cursor::new(bytes)), false).unwrap()
    }

    /// Time in nanoseconds, wire length, link type, interface and bytes.
    pub type Seen = (i64, u32, LinkType, u32, Vec<u8>);

    /// Every frame of a file, its counters and its fault.
    pub fn frames_of(bytes: Vec<u8>) -> (Vec<Seen>, CaptureCounters, Option<String>) {
        let mut reader = Reader::new(input_of(bytes)).unwrap();
        let mut frames = Vec::new();
        while reader.advance() {
            let (head, bytes) = reader.head().unwrap();
            frames.push((head.time.ns(), head.wire_len, head.link, head.interface, bytes.to_vec()));
        }
        (frames, reader.counters, reader.take_fault().map(|f| f.to_string()))
    }

    fn refusal(bytes: &[u8]) -> String {
        match Reader::new(input_of(bytes.to_vec())) {
            Ok(_) => "opened".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_no_capture_is_told_with_the_mend() {
        assert!(refusal(b"DPI Packets").contains("begins with 44 50 49 20"));
        assert!(refusal(b"\xfd7zXZ\0\0").contains("xz -dc"));
        assert!(refusal(b"snoop\0\0\0\0\0\0\x02").contains("editcap"));
    }

    #[test]
    fn a_header_cut_short_is_told() {
        assert!(refusal(b"\xd4\xc3\xb2\xa1\x02\0\x04\0").contains("cut short"));
    }
}
