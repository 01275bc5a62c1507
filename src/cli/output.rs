//! Rows of JSON as an aligned table, as JSON, or as CSV.

use std::io::{self, Write};

use comfy_table::{Attribute, Cell, Color as Shade, ContentArrangement, Table, presets};
use serde_json::Value;

use super::args::{Color, Format};

/// Prose is broken here: a terminal is often wider, an eye is not.
const LINE_MAX: usize = 100;

/// One column of a table: its title, and how a row shows it.
pub struct Column {
    pub title: &'static str,
    pub show: fn(&Value) -> String,
}

/// Shorthand for tables of columns.
pub const fn column(title: &'static str, show: fn(&Value) -> String) -> Column {
    Column { title, show }
}

/// Prints rows in the asked format; `empty` is what a table without rows says instead.
///
/// # Errors
/// Stdout cannot be written (a closed pipe is no error: `eastwatch vms | head` is usual).
pub fn print(rows: &Value, columns: &[Column], format: Format, color: Color, empty: &str) -> io::Result<()> {
    let text = match format {
        Format::Json => serde_json::to_string_pretty(rows).map_err(io::Error::other)? + "\n",
        Format::Csv => csv(rows)?,
        Format::Table => match rows.as_array() {
            Some(list) if list.is_empty() => format!("{empty}\n"),
            Some(list) => table(list, columns, color),
            None => table(std::slice::from_ref(rows), columns, color),
        },
    };
    write_out(&text)
}

/// Writes to stdout; a reader that went away is not an error.
///
/// # Errors
/// Any other failure to write.
pub fn write_out(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

pub fn table(rows: &[Value], columns: &[Column], color: Color) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    match color {
        Color::Always => drop(table.enforce_styling()),
        Color::Never => drop(table.force_no_tty()),
        Color::Auto => {}
    }
    table.set_header(columns.iter().map(|c| Cell::new(c.title).add_attribute(Attribute::Bold)));
    for row in rows {
        table.add_row(columns.iter().map(|c| shade((c.show)(row))));
    }
    if let Some(first) = table.column_mut(0) {
        first.set_padding((0, 1));
    }
    let mut text: String = table.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Words that carry judgement are told by colour too, never by colour alone.
fn shade(text: String) -> Cell {
    let shade = match text.as_str() {
        "critical" | "high" | "unsanctioned" => Some(Shade::Red),
        "medium" | "open" | "growing" | "learning" => Some(Shade::Yellow),
        "learned" | "sanctioned" | "ripe" | "resolved" | "ok" => Some(Shade::Green),
        _ => None,
    };
    match shade {
        Some(shade) => Cell::new(text).fg(shade),
        None => Cell::new(text),
    }
}

/// One line a row, the JSON's own keys as the header, nested values as JSON text.
fn csv(rows: &Value) -> io::Result<String> {
    let one = std::slice::from_ref(rows);
    let list = rows.as_array().map_or(one, Vec::as_slice);
    let mut writer = csv::Writer::from_writer(Vec::new());
    if let Some(Value::Object(first)) = list.first() {
        writer.write_record(first.keys())?;
        for row in list {
            writer.write_record(first.keys().map(|key| cell(row.get(key).unwrap_or(&Value::Null))))?;
        }
    }
    let bytes = writer.into_inner().map_err(|e| io::Error::other(e.to_string()))?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// A spreadsheet runs a cell that begins with `=`, `+`, `-` or `@`: hostile names are made text by a quote mark.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.starts_with(['=', '+', '-', '@']) && text.len() > 1 => format!("'{text}"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A text field, `-` where there is none.
pub fn text(row: &Value, key: &str) -> String {
    match row.get(key) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Text in lines of at most [`LINE_MAX`] characters, each indented; a longer word stands by itself.
pub fn wrapped(text: &str, indent: usize) -> String {
    let mut out = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if length > 0 && length + 1 + width > LINE_MAX {
            out.push('\n');
            length = 0;
        }
        match length {
            0 => out.push_str(&" ".repeat(indent)),
            _ => out.push(' '),
        }
        length = if length == 0 { indent + width } else { length + 1 + width };
        out.push_str(word);
    }
    out + "\n"
}

/// A time field to the second.
pub fn time(row: &Value, key: &str) -> String {
    let full = text(row, key);
    full.get(..19).map_or(full.clone(), |t| t.replace('T', " "))
}

/// Bytes in the unit that fits: `1.4 MB`.
pub fn bytes(row: &Value, key: &str) -> String {
    let Some(n) = row.get(key).and_then(Value::as_u64) else { return "-".to_owned() };
    let (mut value, mut unit) = (n as f64, "B");
    for next in ["kB", "MB", "GB", "TB"] {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if unit == "B" { format!("{n} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn csv_cells_cannot_start_a_formula() -> io::Result<()> {
        let text = csv(&json!([{"name": "=HYPERLINK(1)", "n": 3}, {"name": "a,b", "n": null}]))?;
        assert_eq!(text, "name,n\n'=HYPERLINK(1),3\n\"a,b\",\n");
        Ok(())
    }

    #[test]
    fn prose_is_broken_between_words_and_indented() {
        let text = wrapped(&"word ".repeat(30), 4);
        assert!(text.lines().all(|l| l.starts_with("    word") && l.len() <= LINE_MAX));
        assert_eq!((text.lines().count(), text.matches("word").count()), (2, 30));
        assert_eq!(wrapped("short", 2), "  short\n");
    }

    #[test]
    fn tables_align_and_have_no_trailing_space() {
        let rows = [json!({"vm": "a"}), json!({"vm": "long-name"})];
        let columns = [column("VM", |r| text(r, "vm")), column("IP", |r| text(r, "ip"))];
        let shown = table(&rows, &columns, Color::Never);
        assert_eq!(shown, "VM         IP\na          -\nlong-name  -\n");
    }
}
