//! One Recog file: `<fingerprints matches=…>` with its `<fingerprint pattern=… flags=…>` elements, each with
//! `<description>`, `<example>` and `<param pos= name= value=>`.
//!
//! Elements nest at most [`DEPTH_MAX`] deep, a fingerprint has at most [`PARAMS_MAX`] params and [`EXAMPLES_MAX`]
//! examples; what is beyond a bound is set aside and told. A DOCTYPE is refused: nothing is expanded but the five
//! entities of XML itself and character references.

use quick_xml::Reader;
use quick_xml::escape::{resolve_xml_entity, unescape};
use quick_xml::events::{BytesStart, Event};

use super::ruby::PATTERN_BYTES_MAX;

const DEPTH_MAX: usize = 16;
const PARAMS_MAX: usize = 64;
const EXAMPLES_MAX: usize = 256;
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// One file as it is written.
#[derive(Debug, Default)]
pub(super) struct File {
    /// What its patterns are matched against, e.g. `http_header.server`.
    pub matches: String,
    pub entries: Vec<Entry>,
}

#[derive(Debug, Default)]
pub(super) struct Entry {
    pub line: usize,
    pub pattern: String,
    pub flags: String,
    pub description: String,
    pub params: Vec<Param>,
    pub examples: Vec<Example>,
}

#[derive(Debug, Default)]
pub(super) struct Param {
    /// The group whose text it is; 0: `value` as it stands.
    pub pos: usize,
    pub name: String,
    pub value: String,
}

/// A text that the fingerprint must match, and what must come of it.
#[derive(Debug, Default)]
pub struct Example {
    pub text: String,
    pub base64: bool,
    /// The text lies in a file of its own.
    pub elsewhere: bool,
    pub expected: Vec<(String, String)>,
}

struct Reading<'t> {
    text: &'t str,
    file: File,
    path: Vec<String>,
    entry: Option<Entry>,
    example: Option<Example>,
    /// Text of the innermost element.
    said: String,
    faults: Vec<(usize, String)>,
    /// Where the line count stands: byte and line.
    counted: (usize, usize),
}

/// The file, and what is wrong with it by line. After a fault of XML nothing more of it is read.
pub(super) fn read(text: &str) -> (File, Vec<(usize, String)>) {
    let mut reading = Reading {
        text,
        file: File::default(),
        path: Vec::new(),
        entry: None,
        example: None,
        said: String::new(),
        faults: Vec::new(),
        counted: (0, 1),
    };
    if let Err((at, message)) = reading.all() {
        let line = reading.line(at);
        reading.faults.push((line, message));
    } else if !reading.path.is_empty() {
        reading.faults.push((text.lines().count(), "the file ends inside an element: it was cut".to_owned()));
    }
    (reading.file, reading.faults)
}

impl Reading<'_> {
    fn all(&mut self) -> Result<(), (usize, String)> {
        let mut reader = Reader::from_str(self.text);
        loop {
            let at = offset(reader.buffer_position());
            let event = reader.read_event().map_err(|e| (offset(reader.error_position()), format!("not XML: {e}")))?;
            match event {
                Event::Start(element) => self.open(&element, at)?,
                Event::Empty(element) => {
                    self.open(&element, at)?;
                    self.close();
                }
                Event::End(_) => self.close(),
                Event::Text(text) => self.more(&text),
                Event::CData(text) => self.more(&text),
                Event::GeneralRef(reference) => {
                    let resolved = match reference.resolve_char_ref() {
                        Ok(Some(c)) => Some(c.to_string()),
                        _ => resolve_xml_entity(&reference).map(str::to_owned),
                    };
                    let entity = || (at, "an entity that is none of XML's own: write the character".to_owned());
                    self.more(&resolved.ok_or_else(entity)?);
                }
                Event::DocType(_) => return Err((at, "a DOCTYPE: nothing is expanded; remove it".to_owned())),
                Event::Eof => return Ok(()),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            }
        }
    }

    fn open(&mut self, element: &BytesStart<'_>, at: usize) -> Result<(), (usize, String)> {
        if self.path.len() >= DEPTH_MAX {
            return Err((at, format!("elements nest more than {DEPTH_MAX} deep")));
        }
        let line = self.line(at);
        self.path.push(element.name().as_ref().to_owned());
        self.said.clear();
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        match path.as_slice() {
            ["fingerprints"] => self.file.matches = attribute(element, "matches").unwrap_or_default(),
            [_] => return Err((at, "expected <fingerprints>: is it a file of Recog's?".to_owned())),
            ["fingerprints", "fingerprint"] => {
                let pattern = attribute(element, "pattern").unwrap_or_default();
                let flags = attribute(element, "flags").unwrap_or_default();
                self.entry = Some(Entry { line, pattern, flags, ..Entry::default() });
            }
            [.., "fingerprint", "param"] => self.param(element, line),
            [.., "fingerprint", "example"] => {
                let mut example = Example::default();
                for (name, value) in attributes(element) {
                    match name.as_str() {
                        "_encoding" => example.base64 = value == "base64",
                        "_filename" => example.elsewhere = true,
                        _ => example.expected.push((name, value)),
                    }
                }
                self.example = Some(example);
            }
            _ => {}
        }
        Ok(())
    }

    fn param(&mut self, element: &BytesStart<'_>, line: usize) {
        let value = |name: &str| attribute(element, name).unwrap_or_default();
        let (pos, name, text) = (value("pos"), value("name"), value("value"));
        let Some(entry) = &mut self.entry else { return };
        match pos.parse::<usize>() {
            _ if entry.params.len() >= PARAMS_MAX => {
                self.faults.push((line, format!("more than {PARAMS_MAX} params: this one is left out")));
            }
            Ok(pos) if !name.is_empty() => entry.params.push(Param { pos, name, value: text }),
            _ => self.faults.push((line, "a param without a name or a number in pos: left out".to_owned())),
        }
    }

    fn close(&mut self) {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        match (path.as_slice(), &mut self.entry) {
            (["fingerprints", "fingerprint"], entry) => {
                if let Some(entry) = entry.take() {
                    if entry.pattern.is_empty() || entry.pattern.len() > PATTERN_BYTES_MAX {
                        let message = format!("no pattern, or one of more than {PATTERN_BYTES_MAX} bytes: set aside");
                        self.faults.push((entry.line, message));
                    } else {
                        self.file.entries.push(entry);
                    }
                }
            }
            ([.., "fingerprint", "description"], Some(entry)) => entry.description = self.said.trim().to_owned(),
            ([.., "fingerprint", "example"], Some(entry)) => {
                if let Some(example) = self.example.take().filter(|_| entry.examples.len() < EXAMPLES_MAX) {
                    entry.examples.push(Example { text: std::mem::take(&mut self.said), ..example });
                }
            }
            _ => {}
        }
        self.path.pop();
        self.said.clear();
    }

    fn more(&mut self, text: &str) {
        if self.said.len() + text.len() <= TEXT_BYTES_MAX {
            self.said.push_str(text);
        }
    }

    /// The line of a byte; asked in order.
    fn line(&mut self, at: usize) -> usize {
        let (byte, line) = self.counted;
        if at > byte {
            let between = self.text.as_bytes().get(byte..at).unwrap_or_default();
            self.counted = (at, line + between.iter().filter(|b| **b == b'\n').count());
        }
        self.counted.1
    }
}

fn attributes(element: &BytesStart<'_>) -> Vec<(String, String)> {
    let mut attributes = element.attributes();
    let told = attributes.with_checks(false).flatten().take(PARAMS_MAX);
    told.map(|a| {
        let value = unescape(&a.value).unwrap_or(a.value.clone()).into_owned();
        (a.key.as_ref().to_owned(), value)
    })
    .collect()
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    attributes(element).into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

fn offset(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_params_and_examples_are_read() {
        let text = "<fingerprints matches=\"ssh.banner\">\n <!-- note -->\n <fingerprint pattern=\"^A&amp;B ([\\d.]+)$\" flags=\"REG_ICASE\">\n\
                    <description>A and B</description><example service.version=\"1\">A&amp;B 1</example>\n\
                    <param pos=\"0\" name=\"service.product\" value=\"AB\"/><param pos=\"1\" name=\"service.version\"/>\n\
                    </fingerprint></fingerprints>";
        let (file, faults) = read(text);
        assert!(faults.is_empty(), "{faults:?}");
        let entry = &file.entries[0];
        assert_eq!((file.matches.as_str(), entry.line, entry.pattern.as_str()), ("ssh.banner", 3, "^A&B ([\\d.]+)$"));
        assert_eq!((entry.params.len(), entry.params[1].pos, entry.examples[0].text.as_str()), (2, 1, "A&B 1"));
        assert_eq!(entry.examples[0].expected, [("service.version".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn what_is_no_recog_file_is_told_by_line() {
        let fault = |text: &str| read(text).1.remove(0);
        assert_eq!(fault("<a/>").0, 1);
        assert!(fault("<!DOCTYPE x [<!ENTITY a \"b\">]>\n<fingerprints/>").1.contains("DOCTYPE"));
        assert!(fault("<fingerprints>\n&lol;</fingerprints>").1.contains("entity"));
        assert_eq!(fault("<fingerprints>\n<fingerprint pattern=\"a\">").0, 2);
        assert!(fault(&"<fingerprints>".repeat(40)).1.contains("nest"));
        assert_eq!(fault("<fingerprints>\n<fingerprint/></fingerprints>").0, 2);
    }
}
