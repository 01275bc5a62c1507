//! TOML of our own: `[[vm]]` tables with name, uuid, macs, ips, tags, sanctioned, host and cluster.
//!
//! An unknown key is a fault: it is most often a slip that would leave something out.

use toml::de::{DeTable, DeValue};

use super::plain_csv::{field, no_such};
use super::rows::{Rows, unknown};

pub(super) fn read(rows: &mut Rows<'_>) {
    let document = match DeTable::parse(rows.text()) {
        Ok(document) => document.into_inner(),
        Err(e) => return rows.fault(e.span().map_or(0, |span| span.start), e.message().to_owned()),
    };
    for (key, value) in &document {
        let at = key.span().start;
        match value.get_ref() {
            DeValue::Array(tables) if key.get_ref() == "vm" => {
                for table in tables {
                    match table.get_ref() {
                        DeValue::Table(fields) => vm(rows, table.span().start, fields),
                        _ => rows.fault(table.span().start, "expected a table `[[vm]]`".to_owned()),
                    }
                }
            }
            DeValue::Array(_) => rows.fault(at, unknown("table", &format!("[[{}]]", key.get_ref()), &["[[vm]]"])),
            _ => rows.fault(at, unknown("key", key.get_ref(), &["[[vm]]"])),
        }
    }
}

fn vm(rows: &mut Rows<'_>, at: usize, fields: &DeTable<'_>) {
    let Some(row) = rows.begin(at) else { return };
    for (key, value) in fields {
        let (name, at) = (key.get_ref().as_ref(), value.span().start);
        match (field(name), value.get_ref()) {
            (None, _) => rows.fault(key.span().start, no_such("key", name)),
            (Some((field, true)), DeValue::Array(items)) => {
                for item in items {
                    let at = item.span().start;
                    match item.get_ref() {
                        DeValue::String(text) => rows.set(row, field, at, text),
                        _ => rows.fault(at, format!("`{name}` holds texts in quotes")),
                    }
                }
            }
            (Some((field, _)), DeValue::String(text)) => rows.set(row, field, at, text),
            (Some((_, true)), _) => rows.fault(at, format!("`{name}` is a list of texts like {name} = [\"…\"]")),
            (Some((_, false)), _) => rows.fault(at, format!("`{name}` is a text in quotes")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::faults;

    #[test]
    fn a_broken_table_names_its_place_and_the_nearest_word() {
        let toml = "[[vm]]\nname = \"a\"\n\n[[vm]]\nname = \"b\"\nmac = [\"52:54:00:00:00:01\"]\n\
                    sanctioned = [\"tpc/80\"]\nips = [\"10.0.0.256\"]\n";
        assert_eq!(
            faults("vms.toml", toml),
            "vms.toml:8:8: `10.0.0.256` is not an address like 10.0.0.5 or fd00::5\n\
             vms.toml:6:1: unknown key `mac`: did you mean `macs`?\n\
             vms.toml:7:15: `tpc/80` is not a service like tcp/80: did you mean `tcp/80`?"
        );
    }

    #[test]
    fn broken_toml_names_its_place() {
        assert!(faults("vms.toml", "[[vm]]\nname = \n").starts_with("vms.toml:2:"));
        assert!(faults("v.toml", "[[vms]]\nname = \"a\"\n").contains("did you mean `[[vm]]`?"));
    }
}
