//! The `[apps]` section, and the files of the user's own applications that it names: lists of `[[app]]`.
//!
//! A file has the bounds of a configuration; all files together have at most [`DEFINITIONS_MAX`] applications.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::section::Reader;
use super::{ERRORS_MAX, read_file};
use crate::app::{DEFINITIONS_MAX, Definition, Definitions};

/// Where names of programs come from that eastwatch does not know by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AppsConfig {
    /// Files of applications of your own: a path or a list of them.
    #[serde(deserialize_with = "one_or_many")]
    pub file: Vec<PathBuf>,
    /// A folder of Recog's XML files.
    pub recog: Option<PathBuf>,
}

impl AppsConfig {
    /// Reads and compiles what the files define.
    ///
    /// # Errors
    /// All that is wrong with them, by file and in order of line.
    pub fn definitions(&self) -> Result<Arc<Definitions>, Vec<ConfigError>> {
        let (mut texts, mut errors) = (Vec::new(), Vec::new());
        for path in &self.file {
            let name = path.display().to_string();
            match read_file(path) {
                Ok(text) => texts.push((name, text)),
                Err(why) => errors.push(ConfigError::of_file(&name, why)),
            }
        }
        if errors.is_empty() { definitions(&texts) } else { Err(errors) }
    }
}

/// Number of the file, and of the table in it.
type DefinedAt = (usize, usize);

/// What files, by name and text, define.
fn definitions(files: &[(String, String)]) -> Result<Arc<Definitions>, Vec<ConfigError>> {
    let (mut all, mut errors): (Vec<(Definition, DefinedAt)>, Vec<ConfigError>) = Default::default();
    for (file, (name, text)) in files.iter().enumerate() {
        let mut reader = Reader::new(name, text, ERRORS_MAX);
        let tables: Vec<Definition> = reader.tables("app", DEFINITIONS_MAX);
        reader.leftover(&["app"], &[]);
        match reader.finish() {
            Ok(_) if tables.is_empty() => errors.push(ConfigError {
                hint: Some("write [[app]], once for each".to_owned()),
                ..ConfigError::of_file(name, "defines no application".to_owned())
            }),
            Ok(_) => all.extend(tables.into_iter().enumerate().map(|(at, app)| (app, (file, at)))),
            Err(wrong) => errors.extend(wrong),
        }
    }
    if all.len() > DEFINITIONS_MAX {
        let name = files.last().map_or("", |(name, _)| name);
        errors.push(ConfigError::of_file(name, format!("more than {DEFINITIONS_MAX} applications in all files")));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let apps: Vec<Definition> = all.iter().map(|(app, _)| app.clone()).collect();
    Definitions::compile(&apps).map_err(|wrong| {
        let told = wrong.into_iter().filter_map(|error| {
            let (file, at) = all.get(error.at)?.1;
            let (name, text) = files.get(file)?;
            Some(ConfigError::at(name, text, place(text, at, error.key), error.message))
        });
        told.take(ERRORS_MAX).collect()
    })
}

/// Where a key's value of the `at`th table stands, or the table where it has no such key.
fn place(text: &str, at: usize, key: &str) -> Range<usize> {
    let (root, _) = DeTable::parse_recoverable(text);
    let Some(DeValue::Array(list)) = root.get_ref().get("app").map(|value| value.get_ref()) else { return 0..0 };
    let Some(entry) = list.get(at) else { return 0..0 };
    match entry.get_ref() {
        DeValue::Table(table) => table.get(key).map_or(entry.span(), |value| value.span()),
        _ => entry.span(),
    }
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a path in quotes, or a list of them")]
    enum Paths {
        One(PathBuf),
        Many(Vec<PathBuf>),
    }
    Ok(match Paths::deserialize(deserializer)? {
        Paths::One(path) => vec![path],
        Paths::Many(paths) => paths,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        let files = [("apps.toml".to_owned(), text.to_owned())];
        definitions(&files).unwrap_err().iter().map(ToString::to_string).collect()
    }

    const GOOD: &str = "[[app]]\nname = \"acme-billing\"\nserver = { regex = 'ACME/(?P<version>[0-9.]+)' }\nports = [7001]\n\
                        [[app]]\nname = \"acme-log\"\ntransport = \"udp\"\nclient = { hex = \"ca fe\" }\nserver = \"LOG\"\n";

    #[test]
    fn applications_are_read() {
        let files = [("apps.toml".to_owned(), GOOD.to_owned())];
        assert_eq!(definitions(&files).unwrap().len(), 2);
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        assert_eq!(
            errors(
                "[[app]]\nname = \"a1\"\nsevrer = \"AB\"\n[[app]]\nname = \"a2\"\nserver = 5\ntransport = \"tpc\"\n"
            ),
            [
                "apps.toml:3:1: unknown key `sevrer` in [[app]] (did you mean `server`?)",
                "apps.toml:6:10: `server`: expected a text in quotes, { hex = \"0a 1b\" } or { regex = 'ACME/\\d' }",
                "apps.toml:7:13: `transport`: unknown value `tpc` (did you mean `tcp`?)",
            ]
        );
        assert_eq!(
            errors("[[app]]\nname = \"rtp\"\nserver = \"AB\"\n[[app]]\nname = \"b\"\nserver = { regex = '(A' }\n"),
            [
                "apps.toml:2:8: `rtp` is the name of a protocol that eastwatch knows: give your own another",
                "apps.toml:6:10: not a regular expression: unclosed group",
            ]
        );
        let missing = errors("[[app]]\nname = \"b\"\nports = [7001]\n");
        assert!(missing[0].starts_with("apps.toml:1:1: an app needs `server`"), "{missing:?}");
        assert!(errors("# nothing\n")[0].contains("defines no application"));
        assert!(errors("[[apps]]\nname = \"b\"\n")[0].contains("did you mean `app`?"));
    }

    #[test]
    fn there_may_be_so_many_and_no_more() {
        let many = |from: usize, to: usize| -> String {
            (from..to).map(|i| format!("[[app]]\nname = \"a{i}\"\nserver = \"AB{i}\"\n")).collect()
        };
        assert!(errors(&many(0, 65))[0].contains("64 at most"));
        let files = [("a".to_owned(), many(0, 40)), ("b".to_owned(), many(40, 80))];
        assert!(definitions(&files).unwrap_err()[0].message.contains("in all files"));
    }

    #[test]
    fn one_path_and_a_list_are_read_alike() {
        let paths = |text: &str| toml::from_str::<AppsConfig>(text).map(|apps| apps.file.len());
        assert_eq!(paths("file = \"a\"").ok(), Some(1));
        assert_eq!(paths("file = [\"a\", \"b\"]\nrecog = \"x\"").ok(), Some(2));
        assert!(paths("file = 5").unwrap_err().to_string().contains("a path in quotes"));
    }
}
