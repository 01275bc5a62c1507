//! What is wrong in a configuration file: the place, what was expected, the nearest valid word, and the line itself.

use std::fmt;
use std::ops::Range;

/// One error or warning. `Display` is one line; [`ConfigError::pretty`] adds the line with a caret below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub file: String,
    /// `None` where the file itself cannot be read.
    pub place: Option<Place>,
    pub message: String,
    pub hint: Option<String>,
}

/// Line and column count from 1; the column in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub line: usize,
    pub column: usize,
    /// Characters to underline, at least 1.
    pub width: usize,
    /// The line, without control characters.
    pub text: String,
}

/// A longer line is shown up to here; a caret beyond it is not drawn.
const LINE_CHARS_MAX: usize = 200;

impl ConfigError {
    pub(super) fn of_file(file: &str, message: String) -> Self {
        ConfigError { file: file.to_owned(), place: None, message, hint: None }
    }

    pub(super) fn at(file: &str, text: &str, span: Range<usize>, message: String) -> Self {
        ConfigError { file: file.to_owned(), place: Some(Place::of(text, span)), message, hint: None }
    }

    /// As rustc shows it:
    /// ```text
    /// error: unknown key `hoem` in [networks]
    ///   --> eastwatch.toml:2:1
    ///    |
    ///  2 | hoem = "auto"
    ///    | ^^^^ did you mean `home`?
    /// ```
    pub fn pretty(&self, level: &str) -> String {
        let hint = self.hint.as_deref().unwrap_or_default();
        let Some(Place { line, column, width, text }) = &self.place else {
            return format!("{level}: {}: {}", self.file, self.message);
        };
        let margin = " ".repeat(line.to_string().len());
        let mut out = format!("{level}: {}\n {margin}--> {}:{line}:{column}\n", self.message, self.file);
        out += &format!(" {margin} |\n {line} | {text}\n {margin} |");
        if *column <= LINE_CHARS_MAX {
            out += &format!(" {}{} {hint}", " ".repeat(column - 1), "^".repeat((*width).min(LINE_CHARS_MAX)));
        } else {
            out += &format!(" {hint}");
        }
        out.trim_end().to_owned()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(place) = &self.place {
            write!(f, ":{}:{}", place.line, place.column)?;
        }
        write!(f, ": {}", self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

impl std::error::Error for ConfigError {}

impl Place {
    fn of(text: &str, span: Range<usize>) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let begun = before.rsplit('\n').next().unwrap_or_default();
        let rest = text.get(before.len()..).unwrap_or_default().lines().next().unwrap_or_default();
        let inside = text.get(span).unwrap_or_default().lines().next().unwrap_or_default();
        let shown = |c: char| if c.is_control() { ' ' } else { c };
        Place {
            line,
            column: begun.chars().count() + 1,
            width: inside.chars().count().max(1),
            text: begun.chars().chain(rest.chars()).map(shown).take(LINE_CHARS_MAX).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_word() {
        let text = "[networks]\nhoem = \"auto\"\n";
        let mut error = ConfigError::at("e.toml", text, 11..15, "unknown key `hoem` in [networks]".to_owned());
        error.hint = Some("did you mean `home`?".to_owned());
        let expected = "error: unknown key `hoem` in [networks]\n  --> e.toml:2:1\n   |\n 2 | hoem = \"auto\"\n   | ^^^^ did you mean `home`?";
        assert_eq!(error.pretty("error"), expected);
        assert_eq!(error.to_string(), "e.toml:2:1: unknown key `hoem` in [networks] (did you mean `home`?)");
    }

    #[test]
    fn columns_count_characters_and_a_place_at_the_end_of_the_file_is_drawn() {
        let error = ConfigError::at("e.toml", "ä = é", 5..7, "x".to_owned());
        assert_eq!(error.place.as_ref().map(|p| (p.line, p.column, p.width)), Some((1, 5, 1)));
        let error = ConfigError::at("e.toml", "a = ", 4..4, "x".to_owned());
        assert!(error.pretty("error").ends_with("|     ^"), "{}", error.pretty("error"));
    }
}
