//! Reads sections into their rooms' own types and gathers what is wrong with them.
//!
//! serde stops at the first error. To tell all of them the key it names is taken out and the section is read again,
//! as often as there are errors left to tell; keys come from the types, never from a list here.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error, ValueDeserializer};

use super::error::ConfigError;
use super::show::Origin;

/// Where each key stands, and the warnings.
pub(super) type Finished = (BTreeMap<String, Origin>, Vec<ConfigError>);

pub(super) struct Reader<'i> {
    name: &'i str,
    text: &'i str,
    root: DeTable<'i>,
    /// With the offset in the file, by which they are sorted at the end.
    errors: Vec<(usize, ConfigError)>,
    errors_max: usize,
    untold: usize,
    warnings: Vec<(usize, ConfigError)>,
    origins: BTreeMap<String, Origin>,
}

impl<'i> Reader<'i> {
    pub fn new(name: &'i str, text: &'i str, errors_max: usize) -> Self {
        let (root, broken) = DeTable::parse_recoverable(text);
        let (errors, warnings, origins) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut reader =
            Reader { name, text, root: root.into_inner(), errors, errors_max, untold: 0, warnings, origins };
        for error in broken {
            reader.tell(error.span().unwrap_or(0..0), format!("not TOML: {}", error.message()), None);
        }
        reader
    }

    /// The section `name`, or as much of it as is right.
    pub fn section<T: DeserializeOwned + Default>(&mut self, name: &str) -> T {
        let Some((key, value)) = self.root.remove_entry(name) else { return T::default() };
        let DeValue::Table(table) = value.into_inner() else {
            self.tell(key.span(), format!("`{name}` is a section: write [{name}] on a line of its own"), None);
            return T::default();
        };
        self.note_origins(name, &table);
        self.read((name, false), &key.span(), table)
    }

    /// The tables of the list `name`, or as much of them as is right.
    pub fn tables<T: DeserializeOwned + Default>(&mut self, name: &str, max: usize) -> Vec<T> {
        let Some((key, value)) = self.root.remove_entry(name) else { return Vec::new() };
        let wrong = || format!("`{name}` is a list: write [[{name}]], once for each");
        let DeValue::Array(list) = value.into_inner() else {
            self.tell(key.span(), wrong(), None);
            return Vec::new();
        };
        if list.len() > max {
            self.tell(key.span(), format!("[[{name}]] stands {} times: {max} at most", list.len()), None);
        }
        let mut tables = Vec::new();
        for (at, entry) in list.into_iter().take(max).enumerate() {
            let span = entry.span();
            match entry.into_inner() {
                DeValue::Table(table) => {
                    self.note_origins(&format!("{name}.{at}"), &table);
                    tables.push(self.read((name, true), &span, table));
                }
                _ => self.tell(span, wrong(), None),
            }
        }
        tables
    }

    /// One table of this name, and whether it is of a list.
    fn read<T: DeserializeOwned + Default>(
        &mut self,
        heading: (&str, bool),
        span: &Range<usize>,
        mut table: DeTable<'i>,
    ) -> T {
        loop {
            let whole = Spanned::new(span.clone(), DeValue::Table(table.clone()));
            let error = match T::deserialize(ValueDeserializer::from(whole)) {
                Ok(section) => return section,
                Err(error) => error,
            };
            let span = error.span().unwrap_or_else(|| span.clone());
            let culprit = take_out(&mut table, &span);
            self.explain(heading, &error, span, culprit.as_deref());
            if culprit.is_none() {
                return T::default(); // an error of the section as a whole
            }
        }
    }

    /// What no section has taken: sections of later versions are warned of, anything else is an error.
    pub fn leftover(&mut self, known: &[&str], later: &[&str]) {
        for (key, value) in std::mem::take(&mut self.root) {
            let name = key.get_ref().to_string();
            let is_section = matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_));
            if later.contains(&name.as_str()) && is_section {
                let message = format!("[{name}] is not acted on by this version");
                self.warnings.push((key.span().start, ConfigError::at(self.name, self.text, key.span(), message)));
                continue;
            }
            let sections: Vec<&str> = known.iter().chain(later).copied().collect();
            let what = if is_section { "section" } else { "key" };
            let hint = nearest(&name, &sections).unwrap_or_else(|| format!("the sections are {}", listed(&sections)));
            self.tell(key.span(), format!("unknown {what} `{name}`"), Some(hint));
        }
    }

    /// Origins and warnings, or all errors in order of their place.
    pub fn finish(mut self) -> Result<Finished, Vec<ConfigError>> {
        let sorted = |mut list: Vec<(usize, ConfigError)>| {
            list.sort_by_key(|(offset, _)| *offset);
            list.into_iter().map(|(_, error)| error).collect::<Vec<_>>()
        };
        if self.errors.is_empty() {
            return Ok((self.origins, sorted(self.warnings)));
        }
        let mut errors = sorted(std::mem::take(&mut self.errors));
        if self.untold > 0 {
            errors.push(ConfigError::of_file(self.name, format!("and {} further errors", self.untold)));
        }
        Err(errors)
    }

    fn tell(&mut self, span: Range<usize>, message: String, hint: Option<String>) {
        if self.errors.len() < self.errors_max {
            let start = span.start;
            self.errors.push((start, ConfigError { hint, ..ConfigError::at(self.name, self.text, span, message) }));
        } else {
            self.untold += 1;
        }
    }

    /// serde's words in the operator's.
    fn explain(&mut self, (section, list): (&str, bool), error: &Error, span: Range<usize>, culprit: Option<&str>) {
        let message = error.message();
        let mut words = quoted(message);
        if message.starts_with("unknown field") && !words.is_empty() {
            let unknown = words.remove(0);
            let keys: Vec<&str> = words;
            let parent = culprit.and_then(|path| path.rsplit_once('.')).map(|(parent, _)| format!(".{parent}"));
            let heading = format!("[{section}{}]", parent.unwrap_or_default());
            let heading = if list { format!("[{heading}]") } else { heading };
            let message = format!("unknown key `{unknown}` in {heading}");
            let hint = nearest(unknown, &keys).unwrap_or_else(|| format!("the keys here are {}", listed(&keys)));
            return self.tell(span, message, Some(hint));
        }
        let at = culprit.map(|path| format!("`{path}`: ")).unwrap_or_default();
        if message.starts_with("unknown variant") && !words.is_empty() {
            let unknown = words.remove(0);
            let hint = nearest(unknown, &words).unwrap_or_else(|| format!("it is one of {}", listed(&words)));
            return self.tell(span, format!("{at}unknown value `{unknown}`"), Some(hint));
        }
        let typed = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
        let plain = match typed.and_then(|t| t.rsplit_once(", expected ")) {
            Some((found, expected)) => format!("expected {}, found {found}", in_words(expected)),
            None if message == "invalid IP address syntax" => {
                let value = self.text.get(span.clone()).unwrap_or_default().trim_matches(['"', '\'']);
                format!("`{value}` is not a network like 10.0.0.0/8 or fd00::/8")
            }
            None => message.to_owned(),
        };
        self.tell(span, at + &plain, None);
    }

    /// Remembers on which line each value of a section stands.
    fn note_origins(&mut self, path: &str, table: &DeTable<'i>) {
        for (key, value) in table {
            let path = format!("{path}.{}", key.get_ref());
            if let DeValue::Table(inner) = value.get_ref() {
                self.note_origins(&path, inner);
                continue;
            }
            let before = self.text.get(..key.span().start).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            self.origins.insert(path, Origin::File(self.name.to_owned(), line));
        }
    }
}

/// Removes the innermost entry whose key or value holds `span`; its dotted path below `table`.
fn take_out(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<String> {
    let holds = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    let mut inner = None;
    for (key, value) in table.iter_mut() {
        let name = key.get_ref().to_string();
        let whole = value.span();
        if let DeValue::Table(below) = value.get_mut()
            && let Some(path) = take_out(below, span)
        {
            return Some(format!("{name}.{path}"));
        }
        if holds(key.span()) || holds(whole) {
            inner = Some(name);
        }
    }
    inner.filter(|name| table.remove(name.as_str()).is_some())
}

/// The words in backticks of a message of serde's.
fn quoted(message: &str) -> Vec<&str> {
    message.split('`').skip(1).step_by(2).collect()
}

fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// "did you mean", where one of `words` is near enough: a third of its letters may differ.
fn nearest(word: &str, words: &[&str]) -> Option<String> {
    let (distance, best) = words.iter().map(|w| (strsim::damerau_levenshtein(word, w), *w)).min()?;
    (distance * 3 <= best.chars().count().max(3)).then(|| format!("did you mean `{best}`?"))
}

fn in_words(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list in [ ]",
        "path string" => "a path in quotes",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
    struct Detect {
        new_service: Detector,
        new_vm: Detector,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Detector {
        enabled: bool,
        again_s: i64,
        day0: Vec<String>,
    }

    fn read(text: &str) -> (Detect, Result<BTreeMap<String, Origin>, Vec<String>>) {
        let mut reader = Reader::new("e.toml", text, 100);
        let section = reader.section("detect");
        let told = reader.finish().map(|(origins, _)| origins);
        (section, told.map_err(|all| all.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn a_table_within_a_section_is_read_and_its_lines_are_known() {
        let (detect, told) = read("[detect.new-service]\nenabled = true\n\n[detect.new-vm]\nagain_s = 5\n");
        assert!(detect.new_service.enabled && detect.new_vm.again_s == 5);
        let origins = told.unwrap();
        assert_eq!(origins.get("detect.new-vm.again_s"), Some(&Origin::File("e.toml".to_owned(), 5)));
    }

    #[test]
    fn errors_of_inner_tables_name_them_and_what_is_right_is_kept() {
        let (detect, told) = read(
            "[detect.new-service]\nenabeld = true\nagain_s = \"x\"\nday0 = [\"telnet\", 5]\n[detect.new-wm]\nenabled = true\n[detect.new-vm]\nagain_s = 7\n",
        );
        assert_eq!(detect.new_vm.again_s, 7);
        assert_eq!(
            told.unwrap_err(),
            [
                "e.toml:2:1: unknown key `enabeld` in [detect.new-service] (did you mean `enabled`?)",
                "e.toml:3:11: `new-service.again_s`: expected a whole number, found string \"x\"",
                "e.toml:4:19: `new-service.day0`: expected a string, found integer `5`",
                "e.toml:5:9: unknown key `new-wm` in [detect] (did you mean `new-vm`?)",
            ]
        );
    }

    #[test]
    fn dotted_and_inline_tables_are_read_alike() {
        let (detect, told) = read("detect.new-vm = { enabled = true, agian_s = 3 }\n");
        assert!(detect.new_vm.enabled);
        assert_eq!(
            told.unwrap_err(),
            ["e.toml:1:35: unknown key `agian_s` in [detect.new-vm] (did you mean `again_s`?)"]
        );
    }
}
