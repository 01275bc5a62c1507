//! What the payload proved about a flow: application protocol, product, version and other details.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::flow::Side;

/// An application protocol's name: Suricata 7's where it has one (`pgsql`, `krb5`, `rfb`), else nDPI's in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AppProto(pub Cow<'static, str>);

impl AppProto {
    pub const fn new(name: &'static str) -> Self {
        AppProto(Cow::Borrowed(name))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AppProto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Longest text kept of anything a packet said, in bytes; longer is cut at a character boundary.
const TEXT_BYTES_MAX: usize = 256;
/// Most details kept of one flow; further ones are ignored.
const DETAILS_MAX: usize = 24;

/// Proved by payload, never by port number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppInfo {
    pub proto: AppProto,
    /// Which side of the flow serves, where the payload tells (`orig` sent the flow's first packet).
    pub server: Option<Side>,
    pub product: Option<String>,
    pub version: Option<String>,
    /// Name and value, e.g. `sni`, `ja4`, `hassh`, `subject`; names as in docs/protocols.md.
    pub details: Vec<(Cow<'static, str>, String)>,
}

impl AppInfo {
    /// Details that name who told product or version, where that was not our own parser: such a word describes a
    /// service and identifies none, because it changes with the files it is from.
    pub const PRODUCT_BY: &'static str = "product_by";
    pub const VERSION_BY: &'static str = "version_by";
    /// The detail of an application that a user defined: the definition, as a digest.
    pub const DEFINITION: &'static str = "definition";

    pub fn new(proto: &'static str, server: Option<Side>) -> Self {
        AppInfo { proto: AppProto::new(proto), server, product: None, version: None, details: Vec::new() }
    }

    /// Adds or replaces one detail; text from the wire goes through [`AppInfo::clean`] here.
    pub fn detail(&mut self, name: &'static str, value: impl AsRef<[u8]>) {
        let value = Self::clean(value.as_ref());
        if let Some(slot) = self.details.iter_mut().find(|(n, _)| n == name) {
            slot.1 = value;
        } else if self.details.len() < DETAILS_MAX && !value.is_empty() {
            self.details.push((Cow::Borrowed(name), value));
        }
    }

    pub fn product(&mut self, product: impl AsRef<[u8]>, version: Option<&[u8]>) {
        self.product = Some(Self::clean(product.as_ref())).filter(|t| !t.is_empty());
        self.version = version.map(Self::clean).filter(|t| !t.is_empty());
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.details.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Would it steer a terminal or turn a text's direction?
    pub fn steers(c: char) -> bool {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    }

    /// Wire bytes as text: UTF-8 kept, anything else and every control or bidirectional character escaped as
    /// `\x..` or `\u{..}`, so that no terminal, mail or log can be steered; trimmed and cut to 256 bytes.
    pub fn clean(bytes: &[u8]) -> String {
        let mut out = String::with_capacity(bytes.len().min(TEXT_BYTES_MAX));
        for chunk in bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                let before = out.len();
                if Self::steers(c) {
                    out.extend(c.escape_default());
                } else {
                    out.push(c);
                }
                if out.len() > TEXT_BYTES_MAX {
                    out.truncate(before);
                    return out.trim().to_owned();
                }
            }
            for byte in chunk.invalid() {
                if out.len() + 4 > TEXT_BYTES_MAX {
                    return out.trim().to_owned();
                }
                out.push_str(&format!("\\x{byte:02x}"));
            }
        }
        if out.trim().len() == out.len() { out } else { out.trim().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_and_bidi_escapes_do_not_pass() {
        assert_eq!(AppInfo::clean(b"OpenSSH\x1b[31m_9"), "OpenSSH\\u{1b}[31m_9");
        assert_eq!(AppInfo::clean("a\u{202e}b".as_bytes()), "a\\u{202e}b");
        assert_eq!(AppInfo::clean(b"\xff\xfe"), "\\xff\\xfe");
    }

    #[test]
    fn text_is_bounded() {
        assert!(AppInfo::clean(&[b'a'; 10_000]).len() <= TEXT_BYTES_MAX);
        assert!(AppInfo::clean(&[0xff; 10_000]).len() <= TEXT_BYTES_MAX);
    }
}
