//! One fingerprint: a pattern, and what a text that it matches is.
//!
//! Compiled when a text first needs it, to at most [`COMPILED_BYTES_MAX`]; one that is larger then never matches, and
//! is counted by its table. Where look-around needs backtracking it stops after [`BACKTRACKS_MAX`] steps: no match.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::file::{Entry, Example, Param};
use super::ruby::translate;

pub(super) const COMPILED_BYTES_MAX: usize = 1 << 20;
const BACKTRACKS_MAX: usize = 100_000;
/// Groups in groups; the deepest of Recog's own has a handful.
const NEST_MAX: u32 = 64;

#[derive(Debug)]
pub(super) struct Fingerprint {
    pub line: usize,
    pub description: String,
    /// As the `regex` crate reads it, flags before it; `None` where it backtracks.
    plain: Option<String>,
    regex: OnceCell<Option<regex::bytes::Regex>>,
    fancy: Option<Box<fancy_regex::Regex>>,
    params: Vec<Param>,
    pub examples: Vec<Example>,
}

impl Fingerprint {
    /// # Errors
    /// What is wrong with the pattern or its flags.
    pub fn new(entry: Entry) -> Result<Self, String> {
        let mut flags = String::from("(?m");
        for flag in entry.flags.split([',', '|']).map(str::trim).filter(|flag| !flag.is_empty()) {
            match flag {
                "REG_ICASE" | "IGNORECASE" => flags.push('i'),
                // All three are Ruby's MULTILINE.
                "REG_DOT_NEWLINE" | "REG_MULTILINE" | "REG_LINE_ANY_CRLF" if flags.contains('s') => {}
                "REG_DOT_NEWLINE" | "REG_MULTILINE" | "REG_LINE_ANY_CRLF" => flags.push('s'),
                other => return Err(format!("unknown flag `{other}`")),
            }
        }
        let pattern = translate(&entry.pattern);
        let plain = format!("{flags}-u){pattern}");
        let mut parser = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).nest_limit(NEST_MAX).build();
        let (plain, fancy) = match parser.parse(&plain) {
            Ok(_) => (Some(plain), None),
            Err(error) => (None, Some(Box::new(backtracking(&flags, &pattern).map_err(|_| in_a_line(&error))?))),
        };
        let Entry { line, description, params, examples, .. } = entry;
        Ok(Fingerprint { line, description, plain, regex: OnceCell::new(), fancy, params, examples })
    }

    /// For a set of patterns; `None` where it cannot be in one.
    pub fn plain(&self) -> Option<&str> {
        self.plain.as_deref()
    }

    /// Names and values of what `text` is; `None` where it does not match.
    pub fn read(&self, text: &[u8]) -> Option<BTreeMap<&str, String>> {
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut read = BTreeMap::new();
        let mut put = |group: &dyn Fn(usize) -> Option<String>| {
            for param in &self.params {
                let value = if param.pos == 0 { Some(param.value.clone()) } else { group(param.pos) };
                // An empty group says nothing.
                if let Some(value) = value {
                    read.insert(param.name.as_str(), value);
                }
            }
        };
        if let Some(fancy) = &self.fancy {
            let text = String::from_utf8_lossy(text);
            let groups = fancy.captures(&*text).ok()??;
            put(&|n| groups.get(n).map(|m| m.as_str().to_owned()));
        } else {
            let groups = self.regex()?.captures(text)?;
            put(&|n| groups.get(n).map(|m| lossy(m.as_bytes())));
        }
        interpolate(&mut read);
        Some(read)
    }

    /// False where the pattern turned out to be larger than it may.
    pub fn compiles(&self) -> bool {
        self.fancy.is_some() || self.regex().is_some()
    }

    fn regex(&self) -> Option<&regex::bytes::Regex> {
        let build = || {
            let mut builder = regex::bytes::RegexBuilder::new(self.plain.as_deref()?);
            builder.unicode(false).size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX).build().ok()
        };
        self.regex.get_or_init(build).as_ref()
    }
}

fn backtracking(flags: &str, pattern: &str) -> Result<fancy_regex::Regex, String> {
    let mut builder = fancy_regex::RegexBuilder::new(&format!("{flags}){pattern}"));
    builder.backtrack_limit(BACKTRACKS_MAX).delegate_size_limit(COMPILED_BYTES_MAX).unicode_mode(false);
    builder.build().map_err(|e| e.to_string())
}

/// The last line of a message that draws the pattern.
fn in_a_line(error: &regex_syntax::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// `{other.name}` in a value is that value. One that names what is not there says nothing; of a CPE, `-`.
fn interpolate(read: &mut BTreeMap<&str, String>) {
    let known = read.clone();
    read.retain(|name, value| {
        let mut out = String::with_capacity(value.len());
        let mut rest = value.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            let Some((other, after)) = after.split_once('}') else { break };
            out.push_str(before);
            match known.get(other).filter(|text| !text.is_empty()) {
                Some(text) => out.push_str(text),
                None if name.ends_with("cpe23") => out.push('-'),
                None => return false,
            }
            rest = after;
        }
        out.push_str(rest);
        *value = out;
        true
    });
    read.retain(|name, _| !name.starts_with("_tmp."));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(pattern: &str, flags: &str, params: &[(usize, &str, &str)]) -> Entry {
        let param = |(pos, name, value): &(usize, &str, &str)| Param {
            pos: *pos,
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        };
        let (pattern, flags) = (pattern.to_owned(), flags.to_owned());
        Entry { pattern, flags, params: params.iter().map(param).collect(), ..Entry::default() }
    }

    #[test]
    fn groups_and_other_params_make_values() {
        let params = [
            (0, "service.product", "Acme"),
            (1, "service.version", ""),
            (0, "service.cpe23", "cpe:/a:acme:acme:{service.version}"),
            (0, "os.version", "{os.none}"),
        ];
        let print = Fingerprint::new(entry("^acme(?:/([\\d.]+))?$", "REG_ICASE", &params)).unwrap();
        let read = print.read(b"ACME/1.2").unwrap();
        assert_eq!((read["service.version"].as_str(), read["service.cpe23"].as_str()), ("1.2", "cpe:/a:acme:acme:1.2"));
        let bare = print.read(b"acme").unwrap();
        assert_eq!(bare["service.cpe23"], "cpe:/a:acme:acme:-");
        assert!(!bare.contains_key("service.version") && !bare.contains_key("os.version"));
        assert!(print.read(b"acne/1.2").is_none());
    }

    #[test]
    fn look_around_is_matched_and_does_not_backtrack_for_ever() {
        let print = Fingerprint::new(entry("^(?!bad)(\\w+)$", "", &[(1, "service.product", "")])).unwrap();
        assert!(print.plain().is_none());
        assert_eq!(print.read(b"good").unwrap()["service.product"], "good");
        assert!(print.read(b"bad").is_none());
        let slow = Fingerprint::new(entry("^(?=(a+)+\\1b)x", "", &[])).unwrap();
        assert!(slow.read("a".repeat(4096).as_bytes()).is_none());
    }

    #[test]
    fn what_cannot_be_read_says_why_and_what_is_too_large_never_matches() {
        assert!(Fingerprint::new(entry("(", "", &[])).unwrap_err().contains("unclosed group"));
        assert!(Fingerprint::new(entry("a", "REG_MAGIC", &[])).unwrap_err().contains("REG_MAGIC"));
        let large = Fingerprint::new(entry("(?:[a-z]{1000}){1000}", "", &[])).unwrap();
        assert!(!large.compiles() && large.read(b"a").is_none());
    }
}
