//! Tables with a header row and one row a line, quoted as RFC 4180 has it, with `,`, `;` or a tab between cells.
//!
//! One record at a time; the whole file is bounded by its reader.

use csv::{ErrorKind, Position, ReaderBuilder, StringRecord};

use super::rows::Rows;

/// One line of the table.
pub(super) struct Line<'a> {
    header: &'a StringRecord,
    cells: &'a StringRecord,
    /// Where it begins in the text.
    pub offset: usize,
    /// Where each of its cells begins.
    offsets: Vec<usize>,
}

impl Line<'_> {
    /// The cell of the first column whose name is one of these (any case).
    pub fn get(&self, names: &[&str]) -> Option<(usize, &str)> {
        let column = self.header.iter().position(|h| names.iter().any(|name| h.eq_ignore_ascii_case(name)))?;
        self.cells.get(column).filter(|cell| !cell.is_empty()).map(|cell| (self.offset_of(column), cell))
    }

    /// Column, offset and text of each cell that is not empty.
    pub fn cells(&self) -> impl Iterator<Item = (&str, usize, &str)> {
        let cells = self.header.iter().zip(self.cells.iter()).enumerate();
        cells.filter(|(_, (_, cell))| !cell.is_empty()).map(|(i, (column, cell))| (column, self.offset_of(i), cell))
    }

    fn offset_of(&self, column: usize) -> usize {
        self.offsets.get(column).copied().unwrap_or(self.offset)
    }
}

/// Reads the table. `check` sees each column of the header with its offset, `each` each line.
pub(super) fn read(
    rows: &mut Rows<'_>,
    mut check: impl FnMut(&mut Rows<'_>, usize, &str),
    mut each: impl FnMut(&mut Rows<'_>, Line<'_>),
) {
    let text = rows.text();
    let delimiter = delimiter(text);
    let mut reader =
        ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).delimiter(delimiter).from_reader(text.as_bytes());
    let header = match reader.headers() {
        Ok(header) => header.clone(),
        Err(e) => return rows.fault(0, format!("no header row: {e}")),
    };
    let start = begin_of(text, header.position());
    for (column, offset) in header.iter().zip(offsets(text, start, delimiter)) {
        check(rows, offset, column);
    }
    for record in reader.records() {
        match record {
            Ok(cells) => {
                let offset = begin_of(text, cells.position());
                let offsets = offsets(text, offset, delimiter);
                each(rows, Line { header: &header, cells: &cells, offset, offsets });
            }
            Err(e) => {
                let offset = begin_of(text, e.position());
                let told = match e.kind() {
                    ErrorKind::UnequalLengths { expected_len, len, .. } => {
                        format!("expected {expected_len} fields as in the header, found {len}")
                    }
                    _ => e.to_string(),
                };
                rows.fault(offset, told);
            }
        }
    }
}

/// The cells of a header line, unquoted, as far as a first look needs them.
pub(super) fn header(line: &str) -> impl Iterator<Item = &str> {
    line.split(char::from(delimiter(line))).map(|cell| cell.trim().trim_matches('"').trim())
}

/// The delimiter that the first line has most of.
fn delimiter(text: &str) -> u8 {
    let line = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with('#')).unwrap_or_default();
    let count = |delimiter: u8| line.bytes().filter(|b| *b == delimiter).count();
    // The last of equals: the comma.
    *[b'\t', b';', b','].iter().max_by_key(|delimiter| count(**delimiter)).unwrap_or(&b',')
}

/// A record's position may be that of the blank lines and comments before it.
fn begin_of(text: &str, position: Option<&Position>) -> usize {
    let mut at = position.map_or(0, |p| usize::try_from(p.byte()).unwrap_or(0));
    while let Some(rest) = text.get(at..) {
        let skipped = match rest.as_bytes().first() {
            Some(b'\r' | b'\n') => 1,
            Some(b'#') => rest.find('\n').map_or(rest.len(), |end| end + 1),
            _ => break,
        };
        at += skipped;
    }
    at.min(text.len())
}

/// Where the cells of the record that begins at `start` begin, their quotes and blanks skipped.
fn offsets(text: &str, start: usize, delimiter: u8) -> Vec<usize> {
    let rest = text.get(start..).unwrap_or_default();
    let (mut offsets, mut begins, mut quoted) = (Vec::new(), true, false);
    for (i, byte) in rest.bytes().enumerate() {
        if begins && !matches!(byte, b' ' | b'"') {
            offsets.push(start + i);
            begins = false;
        }
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => break,
            _ if byte == delimiter && !quoted => begins = true,
            _ => {}
        }
    }
    offsets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delimiter_is_the_one_the_header_has_most_of() {
        assert_eq!(
            (delimiter("a,b;c,d"), delimiter("a;b;c"), delimiter("a\tb"), delimiter("a")),
            (b',', b';', b'\t', b',')
        );
    }

    #[test]
    fn a_cell_is_found_behind_quotes_and_comments() {
        let text = "# note\n\n\"a;b\";  \"c\" ; d\n";
        let mut position = Position::new();
        position.set_byte(0);
        let start = begin_of(text, Some(&position));
        let begins: Vec<&str> = offsets(text, start, b';').into_iter().map(|at| &text[at..][..1]).collect();
        assert_eq!(begins, ["a", "c", "d"]);
    }
}
