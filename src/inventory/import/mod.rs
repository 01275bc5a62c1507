//! Inventory files: what an operator or a hypervisor's export says about VMs. One file here for each format; all of
//! them fill the same rows.
//!
//! At most [`FILE_BYTES_MAX`] a file and [`rows::VMS_MAX`] VMs a source; beyond that, and at any fault, the source is
//! refused as a whole, so that a half-read inventory never looks like a whole one. What two rows both claim is the
//! first's, and told.

mod delimited;
mod format;
mod libvirt;
mod netbox;
mod openstack;
mod plain_csv;
mod plain_toml;
mod proxmox;
mod rows;
mod rvtools;

#[cfg(test)]
mod hostile_tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use format::Format;

use crate::model::{Mac, Transport};
use rows::Rows;

/// Thirty thousand VMs of an RVTools export; a control socket's request holds it.
pub const FILE_BYTES_MAX: usize = 16 << 20;

/// A whole source: one file, or several that describe the same VMs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    pub vms: Vec<ImportedVm>,
    /// What is odd but no fault: duplicates. One line each, with file, line and column.
    pub notes: Vec<String>,
}

/// One VM of an inventory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedVm {
    pub name: Option<String>,
    /// The hypervisor's own, in lower case.
    pub uuid: Option<String>,
    pub macs: Vec<Mac>,
    pub ips: Vec<IpAddr>,
    pub tags: Vec<String>,
    /// Services that the file approves.
    pub sanctioned: Vec<(Transport, u16)>,
    /// The hypervisor host it ran on when the file was made.
    pub host: Option<String>,
    pub cluster: Option<String>,
    /// As `vms` names them: `kvm`, `vmware`, `proxmox`…
    pub hypervisor: Option<String>,
}

/// A file to import. Files of one source replace together what that source said before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InventoryFile {
    pub source: String,
    /// For errors; not a path to open.
    pub name: String,
    pub text: String,
}

/// Why a file could not be taken in: one line for each fault, `FILE:LINE:COLUMN: what was expected`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportError(pub Vec<String>);

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ImportError {}

impl Imported {
    /// Reads files, each in the format named or in the one that its content shows; one [`Imported`] a source, in order
    /// of their names.
    ///
    /// # Errors
    /// Every fault of every file, up to a bound. Nothing of any file is then given.
    pub fn sources(files: &[InventoryFile], format: Option<Format>) -> Result<BTreeMap<String, Imported>, ImportError> {
        let mut by_source: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
        for file in files {
            by_source.entry(&file.source).or_default().push((&file.name, &file.text));
        }
        let (mut sources, mut faults) = (BTreeMap::new(), Vec::new());
        for (source, files) in by_source {
            match Imported::parse(&files, format) {
                Ok(imported) => drop(sources.insert(source.to_owned(), imported)),
                Err(ImportError(more)) => faults.extend(more),
            }
        }
        if faults.is_empty() { Ok(sources) } else { Err(ImportError(faults)) }
    }

    /// Reads the files of one source: name and text.
    ///
    /// # Errors
    /// As for [`Imported::sources`].
    pub fn parse(files: &[(&str, &str)], format: Option<Format>) -> Result<Imported, ImportError> {
        let mut rows = Rows::default();
        for (file, text) in files {
            let text = text.strip_prefix('\u{feff}').unwrap_or(text);
            rows.open(file, text);
            if text.len() > FILE_BYTES_MAX {
                rows.fault(0, format!("larger than {} MiB: split it into several", FILE_BYTES_MAX >> 20));
            } else if let Some(at) = text.find('\0') {
                rows.fault(at, "a NUL byte: no inventory is binary; save it as text in UTF-8".to_owned());
            } else {
                match format.map_or_else(|| Format::of(file, text), Ok) {
                    Ok(format) => format.read(&mut rows),
                    Err(told) => rows.fault(0, told),
                }
            }
        }
        rows.finish()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What one file gives, whatever its format.
    pub fn read(file: &str, text: &str) -> Imported {
        Imported::parse(&[(file, text)], None).unwrap()
    }

    pub fn faults(file: &str, text: &str) -> String {
        Imported::parse(&[(file, text)], None).unwrap_err().to_string()
    }

    #[test]
    fn a_fault_in_one_file_refuses_all_of_them() {
        let file = |name: &str, text: &str| InventoryFile {
            source: name.to_owned(),
            name: name.to_owned(),
            text: text.to_owned(),
        };
        let good = file("a.csv", "name\na\n");
        let sources = Imported::sources(std::slice::from_ref(&good), None).unwrap();
        assert_eq!(sources.keys().collect::<Vec<_>>(), ["a.csv"]);
        let bad = file("b.csv", "name,macs\nb,52:54\n");
        let told = Imported::sources(&[good, bad], None).unwrap_err().to_string();
        assert_eq!(told, "b.csv:2:3: `52:54` is not a MAC address like 52:54:00:aa:bb:cc");
    }

    #[test]
    fn a_byte_order_mark_is_no_column() {
        assert_eq!(read("v.csv", "\u{feff}name\na\n").vms[0].name.as_deref(), Some("a"));
    }

    #[test]
    fn a_binary_file_is_refused_where_it_shows() {
        assert!(faults("v.csv", "name\n\0\n").starts_with("v.csv:2:1: a NUL byte"));
    }

    #[test]
    fn files_of_one_source_describe_the_same_vms() {
        let info = "VM,VM UUID,Primary IP Address,Host\nweb,4211-A,10.0.0.5,esx1\n";
        let network = "VM;Mac Address;IPv4 Address;VM UUID\nweb;00:50:56:00:00:01;10.0.0.5, 10.0.0.6;4211-A\n";
        let both = Imported::parse(&[("vInfo.csv", info), ("vNetwork.csv", network)], None).unwrap();
        let [vm] = both.vms.as_slice() else { panic!("{both:?}") };
        assert_eq!((vm.macs.len(), vm.ips.len(), vm.host.as_deref()), (1, 2, Some("esx1")));
        assert!(both.notes.is_empty(), "{:?}", both.notes);
    }
}
