//! What ends a source, told to the operator in one line: where, what, and the mend.
//! Bound: one error an input; a file that is merely odd is counted instead.

use std::fmt;
use std::io;

/// `PLACE: WHAT; MEND`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureError {
    /// The file (and byte) or the interface.
    pub place: String,
    pub what: String,
    pub mend: String,
}

impl CaptureError {
    pub fn new(place: impl Into<String>, what: impl Into<String>, mend: impl Into<String>) -> Self {
        CaptureError { place: place.into(), what: what.into(), mend: mend.into() }
    }

    /// A file that could not be opened or read.
    pub(super) fn unreadable(place: &str, error: &io::Error) -> Self {
        let (what, mend) = match error.kind() {
            io::ErrorKind::NotFound => ("no such file".to_owned(), "check the path"),
            io::ErrorKind::PermissionDenied => ("permission denied".to_owned(), "make it readable for this user"),
            io::ErrorKind::IsADirectory => {
                ("is a directory".to_owned(), "name the captures in it, as in `eastwatch read DIR/*.pcap`")
            }
            _ if error.raw_os_error() == Some(EMFILE) => {
                ("too many files are open".to_owned(), "raise the limit (`ulimit -n 4096`) or read fewer at once")
            }
            _ => (format!("cannot be read: {error}"), "check the disk, or copy the file anew"),
        };
        CaptureError::new(place, what, mend)
    }
}

/// `EMFILE` of Linux, macOS and the BSDs alike.
const EMFILE: i32 = 24;

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // libpcap and the operating system may answer in several lines; an error of ours is one.
        let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        write!(f, "{}: {}; {}", one_line(&self.place), one_line(&self.what), one_line(&self.mend))
    }
}

impl std::error::Error for CaptureError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_place_what_and_mend() {
        let error = CaptureError::new("a.pcap", "first\n  second", "do this");
        assert_eq!(error.to_string(), "a.pcap: first second; do this");
    }
}
