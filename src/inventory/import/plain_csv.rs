//! CSV of our own: a header row with some of [`COLUMNS`], in any order. Lists are separated by `;` or spaces; where `;`
//! separates the cells, by spaces or commas.
//!
//! An unknown column is a fault: it is most often a slip that would leave something out.

use super::delimited;
use super::rows::{Field, Rows, unknown};

const COLUMNS: &[&str] = &["name", "uuid", "macs", "ips", "tags", "sanctioned", "host", "cluster"];

/// May this be the header row?
pub(super) fn is(line: &str) -> bool {
    delimited::header(line).any(|column| COLUMNS.contains(&column))
}

/// Which field a column or key is, and whether it holds several.
pub(super) fn field(name: &str) -> Option<(Field, bool)> {
    Some(match name {
        "name" => (Field::Name, false),
        "uuid" => (Field::Uuid, false),
        "macs" => (Field::Mac, true),
        "ips" => (Field::Ip, true),
        "tags" => (Field::Tag, true),
        "sanctioned" => (Field::Sanctioned, true),
        "host" => (Field::Host, false),
        "cluster" => (Field::Cluster, false),
        _ => return None,
    })
}

/// What is told of a name that is no field.
pub(super) fn no_such(what: &str, name: &str) -> String {
    unknown(what, name, COLUMNS)
}

pub(super) fn read(rows: &mut Rows<'_>) {
    let check = |rows: &mut Rows<'_>, offset, column: &str| {
        if field(column).is_none() {
            rows.fault(offset, no_such("column", column));
        }
    };
    delimited::read(rows, check, |rows, line| {
        let Some(row) = rows.begin(line.offset) else { return };
        for (column, offset, cell) in line.cells() {
            match field(column) {
                Some((field, true)) => {
                    let items = cell.split(|c: char| matches!(c, ';' | ',') || c.is_whitespace());
                    items.for_each(|item| rows.set(row, field, offset, item));
                }
                Some((field, false)) => rows.set(row, field, offset, cell),
                None => {}
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::tests::{faults, read};
    use crate::model::Transport;

    #[test]
    fn toml_and_csv_say_the_same() {
        let toml = "[[vm]]\nname = \"db1\"\nmacs = [\"52:54:00:00:00:01\"]\nips = [\"10.0.0.5\", \"fd00::5\"]\n\
                    tags = [\"pci\"]\nsanctioned = [\"tcp/5432\", \"udp/161\"]\nuuid = \"4C4C-1\"\nhost = \"kvm7\"\n";
        let csv = "name,macs,ips,tags,sanctioned,uuid,host\n\
                   db1, 52-54-00-00-00-01 , 10.0.0.5;fd00::5,pci,tcp/5432 udp/161,4c4c-1,kvm7\n";
        let toml = read("vms.toml", toml);
        assert_eq!(toml, read("vms.csv", csv));
        assert_eq!(toml.vms[0].sanctioned, [(Transport::Tcp, 5432), (Transport::Udp, 161)]);
        assert_eq!((toml.vms[0].uuid.as_deref(), toml.vms[0].host.as_deref()), (Some("4c4c-1"), Some("kvm7")));
    }

    #[test]
    fn a_broken_row_names_its_place_and_the_nearest_word() {
        let csv = "name,mac\na,52:54:00:00:00:01\nb\n";
        assert_eq!(
            faults("vms.csv", csv),
            "vms.csv:1:6: unknown column `mac`: did you mean `macs`?\n\
             vms.csv:3:1: expected 2 fields as in the header, found 1"
        );
    }
}
