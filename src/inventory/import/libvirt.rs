//! libvirt domain XML, as `virsh dumpxml` writes it: one `<domain>` or many, one after the other or in any wrapper.
//!
//! Elements nest at most [`DEPTH_MAX`] deep. A DOCTYPE is refused: libvirt writes none, and nothing is expanded but
//! the five entities of XML itself and character references.

use quick_xml::Reader;
use quick_xml::escape::{resolve_xml_entity, unescape};
use quick_xml::events::{BytesStart, Event};

use super::rows::{Field, Rows, shown};

const DEPTH_MAX: usize = 64;
/// The longest text of an element that is kept; the rows bound it further.
const TEXT_BYTES_MAX: usize = 4096;

/// What is being read.
#[derive(Default)]
struct Domains {
    /// Names of the open elements.
    path: Vec<String>,
    /// The depth of the open domain, and its row.
    domain: Option<(usize, Option<usize>)>,
    found: bool,
    /// Text of the innermost element, and where it begins.
    text: String,
    text_at: usize,
}

pub(super) fn read(rows: &mut Rows<'_>) {
    let mut reader = Reader::from_str(rows.text());
    let mut domains = Domains::default();
    loop {
        let at = offset(reader.buffer_position());
        let event = match reader.read_event() {
            Ok(event) => event,
            Err(e) => {
                return rows
                    .fault(offset(reader.error_position()), format!("expected XML as `virsh dumpxml` writes it: {e}"));
            }
        };
        match event {
            Event::Start(element) => {
                if domains.path.len() >= DEPTH_MAX {
                    return rows.fault(at, format!("elements nest more than {DEPTH_MAX} deep: no domain does"));
                }
                domains.open(rows, &element, at);
                domains.text_at = offset(reader.buffer_position());
            }
            Event::Empty(element) => {
                domains.open(rows, &element, at);
                domains.close(rows);
            }
            Event::End(_) => domains.close(rows),
            Event::Text(text) => domains.more(&text),
            Event::CData(text) => domains.more(&text),
            Event::GeneralRef(reference) => {
                let resolved = match reference.resolve_char_ref() {
                    Ok(Some(c)) => Some(c.to_string()),
                    _ => resolve_xml_entity(&reference).map(str::to_owned),
                };
                match resolved {
                    Some(text) => domains.more(&text),
                    None => {
                        return rows
                            .fault(at, format!("`&{};` is no entity of XML: write the character", shown(&reference)));
                    }
                }
            }
            Event::DocType(_) => {
                return rows.fault(at, "a DOCTYPE: libvirt writes none, and nothing is expanded; remove it".to_owned());
            }
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
    match domains.path.last() {
        Some(open) => rows.fault(rows.text().len(), format!("the file ends inside <{}>: it was cut", shown(open))),
        None if !domains.found => rows.fault(0, "no <domain>: expected the output of `virsh dumpxml`".to_owned()),
        None => {}
    }
}

impl Domains {
    fn open(&mut self, rows: &mut Rows<'_>, element: &BytesStart<'_>, at: usize) {
        self.path.push(element.name().as_ref().to_owned());
        self.text.clear();
        if self.domain.is_none() && element.name().as_ref() == "domain" {
            self.found = true;
            let row = rows.begin(at);
            self.domain = Some((self.path.len(), row));
            if let Some(row) = row {
                // xen, qemu and kvm are one machine's word for what `vms` calls by its MAC's maker.
                let kind = attribute(element, "type").map(|kind| if kind == "qemu" { "kvm".to_owned() } else { kind });
                rows.set(row, Field::Hypervisor, at, kind.as_deref().unwrap_or("kvm"));
            }
            return;
        }
        let Some(row) = self.row() else { return };
        match self.inside() {
            ["devices", "interface", "mac"] => {
                if let Some(mac) = attribute(element, "address") {
                    rows.set_listed_mac(row, at, &mac);
                }
            }
            ["devices", "interface", "ip"] => {
                if let Some(ip) = attribute(element, "address") {
                    rows.set_listed_ip(row, at, &ip);
                }
            }
            _ => {}
        }
    }

    fn close(&mut self, rows: &mut Rows<'_>) {
        if let Some(row) = self.row() {
            match self.inside() {
                ["name", "", ""] => rows.set(row, Field::Name, self.text_at, &self.text),
                ["uuid", "", ""] => rows.set(row, Field::Uuid, self.text_at, &self.text),
                _ => {}
            }
        }
        if self.domain.is_some_and(|(depth, _)| depth == self.path.len()) {
            self.domain = None;
        }
        self.path.pop();
        self.text.clear();
    }

    fn more(&mut self, text: &str) {
        if self.text.len() + text.len() <= TEXT_BYTES_MAX {
            self.text.push_str(text);
        }
    }

    fn row(&self) -> Option<usize> {
        self.domain.and_then(|(_, row)| row)
    }

    /// The open elements inside the domain.
    fn inside(&self) -> [&str; 3] {
        let mut inside = [""; 3];
        let depth = self.domain.map_or(0, |(depth, _)| depth);
        for (slot, name) in inside.iter_mut().zip(self.path.iter().skip(depth)) {
            *slot = name;
        }
        inside
    }
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    // Unchecked for duplicates, which costs the square of their number; the first is taken.
    let mut attributes = element.attributes();
    let found = attributes.with_checks(false).flatten().find(|a| a.key.as_ref() == name)?;
    // What cannot be unescaped is no address either, and is then told as such.
    Some(unescape(&found.value).unwrap_or(found.value.clone()).into_owned())
}

fn offset(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{faults, read};

    const WEB: &str = "<?xml version='1.0'?>\n<!-- WARNING: THIS IS AN AUTO-GENERATED FILE -->\n<domain type='kvm' id='3'>\n  \
        <name>web &amp; more</name>\n  <uuid>4DEA24B3-1D52-4D8F-A4E6-D0F1B0C2A0E1</uuid>\n  <memory unit='KiB'>1048576</memory>\n  \
        <devices>\n    <disk type='file'><source file='/x'/></disk>\n    <interface type='bridge'>\n      \
        <mac address='52:54:00:00:00:01'/>\n      <source bridge='br0'/>\n      <vlan><tag id='10'/></vlan>\n      \
        <ip address='10.0.0.5' prefix='24'/>\n    </interface>\n    <interface type='network'>\n      \
        <mac address='52:54:00:00:00:02'/>\n    </interface>\n  </devices>\n</domain>\n";

    #[test]
    fn a_domain_gives_its_name_uuid_and_interfaces() {
        let imported = read("web.xml", WEB);
        let [vm] = imported.vms.as_slice() else { panic!("{imported:?}") };
        assert_eq!(vm.name.as_deref(), Some("web & more"));
        assert_eq!(vm.uuid.as_deref(), Some("4dea24b3-1d52-4d8f-a4e6-d0f1b0c2a0e1"));
        assert_eq!(
            vm.macs.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["52:54:00:00:00:01", "52:54:00:00:00:02"]
        );
        assert_eq!((vm.ips.as_slice(), vm.hypervisor.as_deref()), (&["10.0.0.5".parse().unwrap()][..], Some("kvm")));
    }

    #[test]
    fn many_domains_stand_one_after_the_other_or_in_a_wrapper() {
        let one = |name: &str| format!("<domain type='qemu'><name>{name}</name></domain>\n");
        let names = |text: &str| -> Vec<_> { read("x.xml", text).vms.into_iter().filter_map(|vm| vm.name).collect() };
        assert_eq!(names(&(one("a") + &one("b"))), ["a", "b"]);
        assert_eq!(names(&format!("<domains>{}{}</domains>", one("a"), one("b"))), ["a", "b"]);
    }

    #[test]
    fn a_name_elsewhere_in_the_file_is_none() {
        let text =
            "<domain><metadata><name>no</name></metadata><devices><name>no</name></devices><uuid>u</uuid></domain>";
        assert_eq!(read("x.xml", text).vms[0].name, None);
    }

    #[test]
    fn faults_name_their_line_and_column() {
        let bad = WEB.replace("52:54:00:00:00:02", "52:54:00:00:00");
        assert!(
            faults("web.xml", &bad).starts_with("web.xml:16:7: `52:54:00:00:00` is not a MAC"),
            "{}",
            faults("web.xml", &bad)
        );
        assert!(faults("x.xml", "<domain>\n<name>a</nome>\n</domain>").starts_with("x.xml:2:8: expected XML"));
        assert!(faults("x.xml", "<domain><name>a").contains("ends inside <name>"));
        assert!(faults("x.xml", "<network/>").contains("no <domain>"));
    }

    #[test]
    fn entities_are_never_expanded() {
        let laughs = "<!DOCTYPE domain [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\">]>\n<domain><name>&b;</name></domain>";
        assert!(faults("x.xml", laughs).contains("a DOCTYPE"));
        assert!(faults("x.xml", "<domain><name>&b;</name></domain>").contains("`&b;` is no entity"));
    }
}
