//! The formats, and which of them a file is in by what it holds.
//!
//! Only the beginning of a file is looked at. What fits none is refused with the list of what was tried.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::rows::Rows;
use super::{libvirt, netbox, openstack, plain_csv, plain_toml, proxmox, rvtools};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Toml,
    Csv,
    /// `virsh dumpxml`.
    Libvirt,
    /// `/etc/pve/qemu-server/100.conf`, `/etc/pve/lxc/101.conf`.
    Proxmox,
    /// vCenter: RVTools' vInfo and vNetwork.
    Rvtools,
    /// `openstack server list -f json`, with or without `--long`.
    Openstack,
    /// The API's virtual-machines, interfaces and ip-addresses.
    Netbox,
}

impl Format {
    pub const ALL: &[Format] = &[
        Format::Toml,
        Format::Csv,
        Format::Libvirt,
        Format::Proxmox,
        Format::Rvtools,
        Format::Openstack,
        Format::Netbox,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Format::Toml => "toml",
            Format::Csv => "csv",
            Format::Libvirt => "libvirt",
            Format::Proxmox => "proxmox",
            Format::Rvtools => "rvtools",
            Format::Openstack => "openstack",
            Format::Netbox => "netbox",
        }
    }

    /// The format that this text shows; its file's name decides only between TOML and CSV.
    pub(super) fn of(file: &str, text: &str) -> Result<Format, String> {
        let extension = |wanted: &str| Path::new(file).extension().is_some_and(|e| e.eq_ignore_ascii_case(wanted));
        let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        let Some(first) = first else {
            // A guest without a single setting, a table without a single row.
            return match extension("csv") {
                true => Ok(Format::Csv),
                false if extension("conf") => Ok(Format::Proxmox),
                false => Ok(Format::Toml),
            };
        };
        let start = text.trim_start();
        let after_bracket = start.strip_prefix('[').map(str::trim_start);
        if start.starts_with('<') {
            return Ok(Format::Libvirt);
        }
        if start.starts_with('{') || after_bracket.is_some_and(|rest| rest.starts_with(['{', ']'])) {
            return Ok(if openstack::is(start) { Format::Openstack } else { Format::Netbox });
        }
        if rvtools::is(first) {
            return Ok(Format::Rvtools);
        }
        if extension("csv") {
            return Ok(Format::Csv);
        }
        if extension("toml") || first.starts_with('[') {
            return Ok(Format::Toml);
        }
        if proxmox::is(first) {
            return Ok(Format::Proxmox);
        }
        if plain_csv::is(first) {
            return Ok(Format::Csv);
        }
        if first.contains('=') {
            return Ok(Format::Toml);
        }
        let names: Vec<&str> = Format::ALL.iter().map(|f| f.name()).collect();
        Err(format!("fits none of {}; say which it is with --format", names.join(", ")))
    }

    pub(super) fn read(self, rows: &mut Rows<'_>) {
        match self {
            Format::Toml => plain_toml::read(rows),
            Format::Csv => plain_csv::read(rows),
            Format::Libvirt => libvirt::read(rows),
            Format::Proxmox => proxmox::read(rows),
            Format::Rvtools => rvtools::read(rows),
            Format::Openstack => openstack::read(rows),
            Format::Netbox => netbox::read(rows),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Format::ALL.iter().map(|f| f.name()).collect::<Vec<_>>().join(", ");
        Format::ALL
            .iter()
            .find(|format| format.name() == text)
            .copied()
            .ok_or_else(|| format!("`{text}` is no format of an inventory: {}", names()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_shows_in_the_first_lines() {
        let told = [
            ("x", "<domain type='kvm'>", Format::Libvirt),
            ("x", "<?xml version=\"1.0\"?><domain>", Format::Libvirt),
            ("x", "# a note\nagent: 1\nboot: order=scsi0\n", Format::Proxmox),
            ("x", "VM;Powerstate;Mac Address\n", Format::Rvtools),
            ("x", "\"VM\",\"Powerstate\",\"Template\"\n", Format::Rvtools),
            ("x", "[{\"ID\": \"a\", \"Name\": \"b\", \"Networks\": \"\"}]", Format::Openstack),
            ("x", "{\"count\": 1, \"results\": []}", Format::Netbox),
            ("x", "[ ]", Format::Netbox),
            ("x", "[[vm]]\nname = \"a\"\n", Format::Toml),
            ("x", "name,macs\n", Format::Csv),
            ("x.csv", "mac\n", Format::Csv),
            ("x.toml", "nonsense", Format::Toml),
            ("100.conf", "", Format::Proxmox),
        ];
        for (file, text, format) in told {
            assert_eq!(Format::of(file, text), Ok(format), "{text}");
        }
    }

    #[test]
    fn what_fits_no_format_is_told_what_was_tried() {
        let told = Format::of("notes.txt", "Dear all\n").unwrap_err();
        assert!(told.contains("toml, csv, libvirt, proxmox, rvtools, openstack, netbox"), "{told}");
        assert!(told.ends_with("--format"), "{told}");
    }

    #[test]
    fn every_format_has_one_name() {
        for format in Format::ALL {
            assert_eq!(format.name().parse(), Ok(*format));
        }
        assert!("xml".parse::<Format>().is_err());
    }
}
