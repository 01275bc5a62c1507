//! The capture filter over files: libpcap's language, compiled once for each link type that turns up.
//! At most [`LINKS_MAX`] link types; frames of further ones, and of those that the filter cannot be compiled for,
//! do not pass and are counted.

use pcap::{BpfProgram, Capture, Linktype};

use crate::model::LinkType;

use super::error::CaptureError;

/// A capture holds one or two; a hostile one could name 65,536.
const LINKS_MAX: usize = 64;

pub struct Filter {
    text: String,
    /// `None`: the filter says nothing about that link type.
    programs: Vec<(LinkType, Option<BpfProgram>)>,
    /// libpcap's reason, and the link type, not yet told.
    refusals: Vec<CaptureError>,
}

/// What a filter says of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Drop,
    /// The filter cannot be compiled for this link type.
    CannotSay,
}

impl Filter {
    /// Compiles for Ethernet, so that a wrong filter is told before anything is read; if only another link type
    /// carries it (`type mgt`), raw IP and Linux cooked are tried too.
    ///
    /// # Errors
    /// libpcap's own message.
    pub fn new(text: &str) -> Result<Self, CaptureError> {
        let mut filter = Filter { text: text.to_owned(), programs: Vec::new(), refusals: Vec::new() };
        match compile(text, LinkType::ETHERNET) {
            Ok(program) => filter.programs.push((LinkType::ETHERNET, Some(program))),
            Err(why) if compile(text, LinkType::RAW).is_err() && compile(text, LinkType::LINUX_SLL).is_err() => {
                return Err(CaptureError::new(
                    format!("--filter `{text}`"),
                    why,
                    "see pcap-filter(7), as in `tcp port 443 and not host 10.0.0.1`",
                ));
            }
            Err(_) => {}
        }
        Ok(filter)
    }

    /// Judges by what was captured of the frame.
    pub fn verdict(&mut self, link: LinkType, bytes: &[u8]) -> Verdict {
        let at = match self.programs.iter().position(|(known, _)| *known == link) {
            Some(at) => at,
            None if self.programs.len() >= LINKS_MAX => return Verdict::CannotSay,
            None => {
                let program = compile(&self.text, link)
                    .map_err(|why| {
                        self.refusals.push(CaptureError::new(
                            format!("--filter `{}`", self.text),
                            format!("cannot be applied to frames of {link}, which were left out: {why}"),
                            "use a filter that fits it, or none",
                        ));
                    })
                    .ok();
                self.programs.push((link, program));
                self.programs.len() - 1
            }
        };
        match self.programs.get(at) {
            Some((_, Some(program))) if program.filter(bytes) => Verdict::Pass,
            Some((_, Some(_))) => Verdict::Drop,
            _ => Verdict::CannotSay,
        }
    }

    /// Link types that the filter could not be compiled for, each told once.
    pub fn take_refusals(&mut self) -> Vec<CaptureError> {
        std::mem::take(&mut self.refusals)
    }
}

fn compile(text: &str, link: LinkType) -> Result<BpfProgram, String> {
    Capture::dead(Linktype(dlt(link)))
        .and_then(|dead| dead.compile(text, true))
        .map_err(|error| error.to_string().trim_start_matches("libpcap error: ").to_owned())
}

/// libpcap's number on this system for a link type of files.
fn dlt(link: LinkType) -> i32 {
    match link {
        LinkType::RAW => 12,
        LinkType(100) => 11, // ATM with LLC (RFC 2684)
        LinkType(other) => i32::from(other),
    }
}

/// And back: the number of files for a link type that libpcap told of a live interface (Linux).
pub(super) fn link_of_dlt(dlt: i32) -> LinkType {
    match dlt {
        12 => LinkType::RAW,
        11 => LinkType(100),
        other => LinkType(u16::try_from(other).unwrap_or(u16::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4/TCP header from 10.0.0.1:40000 to 10.0.0.2:80, without its link header.
    fn packet() -> Vec<u8> {
        let mut out = Vec::new();
        etherparse::PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .tcp(40_000, 80, 1, 1_024)
            .write(&mut out, b"")
            .unwrap();
        out
    }

    #[test]
    fn one_filter_judges_each_link_type_by_its_own_header() {
        let mut filter = Filter::new("tcp port 80").unwrap();
        let ethernet = [&[0; 12][..], &[8, 0], &packet()].concat();
        assert_eq!(filter.verdict(LinkType::ETHERNET, &ethernet), Verdict::Pass);
        assert_eq!(filter.verdict(LinkType::RAW, &packet()), Verdict::Pass);
        let mut other = Filter::new("tcp port 81").unwrap();
        assert_eq!(other.verdict(LinkType::ETHERNET, &ethernet), Verdict::Drop);
        assert_eq!(other.verdict(LinkType::ETHERNET, b"short"), Verdict::Drop);
    }

    #[test]
    fn a_wrong_filter_is_told_before_anything_is_read() {
        let error = Filter::new("tcp prot 80").err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("tcp prot 80") && error.contains("pcap-filter(7)"), "{error}");
    }

    #[test]
    fn a_link_type_that_cannot_carry_it_is_told_once() {
        let mut filter = Filter::new("ether host 02:00:00:00:00:01").unwrap();
        assert_eq!(filter.verdict(LinkType::RAW, &packet()), Verdict::CannotSay);
        assert_eq!(filter.verdict(LinkType::RAW, &packet()), Verdict::CannotSay);
        let told = filter.take_refusals();
        assert_eq!(told.len(), 1);
        assert!(told.iter().all(|e| e.to_string().contains("link type 101")), "{told:?}");
    }
}
