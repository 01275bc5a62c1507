//! Proxmox guests: `/etc/pve/qemu-server/100.conf` and `/etc/pve/lxc/101.conf`, or `qm config 100`.
//!
//! One guest a file. What follows the first `[section]` is a snapshot's and not read; a template is no VM.

use super::rows::{Field, Rows, shown};

const CARDS: &[&str] = &[
    "virtio",
    "vmxnet3",
    "rtl8139",
    "ne2k_pci",
    "ne2k_isa",
    "pcnet",
    "i82551",
    "i82557b",
    "i82559er",
    "e1000",
    "e1000e",
    "e1000-82540em",
    "e1000-82544gc",
    "e1000-82545em",
];

/// May this be a setting, the first one of a guest?
pub(super) fn is(line: &str) -> bool {
    setting(line).is_some_and(|(key, _)| !key.is_empty())
}

pub(super) fn read(rows: &mut Rows<'_>) {
    let (text, file) = (rows.text(), rows.file());
    let lines = || {
        let own = text.split_inclusive('\n').scan(0, |next, line| {
            let at = *next;
            *next += line.len();
            Some((at, line.trim_end()))
        });
        own.take_while(|(_, line)| !line.starts_with('['))
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
    };
    if lines().any(|(_, line)| setting(line).is_some_and(|(key, value)| key == "template" && value.trim() == "1")) {
        return;
    }
    let Some(row) = rows.begin(0) else { return };
    for (at, line) in lines() {
        let Some((key, value)) = setting(line) else {
            rows.fault(at, format!("expected `key: value` as /etc/pve has it, found `{}`", shown(line)));
            continue;
        };
        let value_at = at + line.len() - value.len();
        match key.trim_end_matches(|c: char| c.is_ascii_digit()) {
            // A container has a host name, a guest a name.
            "name" | "hostname" => rows.set(row, Field::Name, value_at, value),
            "tags" => {
                let tags = value.split(|c: char| matches!(c, ';' | ',') || c.is_whitespace());
                tags.for_each(|tag| rows.set(row, Field::Tag, value_at, tag));
            }
            "net" | "ipconfig" | "smbios" => options(rows, row, value_at, value),
            _ => {}
        }
    }
    rows.set(row, Field::Hypervisor, 0, "proxmox");
    if let Some(node) = between(file, "nodes/") {
        rows.set(row, Field::Host, 0, node);
    }
    if !rows.has(row, Field::Name) {
        // What Proxmox itself shows of a guest without a name.
        let id = file.rsplit('/').next().and_then(|name| name.strip_suffix(".conf")).unwrap_or(file);
        rows.set(row, Field::Name, 0, &format!("VM {id}"));
    }
}

/// `virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=10`, `ip=10.0.0.5/24,gw=10.0.0.1`, `uuid=…`.
fn options(rows: &mut Rows<'_>, row: usize, at: usize, value: &str) {
    let mut next = at;
    for option in value.split(',') {
        let at = next;
        next += option.len() + 1;
        let Some((name, value)) = option.split_once('=') else { continue };
        let at = at + name.len() + 1;
        match name.trim() {
            "macaddr" | "hwaddr" => rows.set(row, Field::Mac, at, value),
            card if CARDS.contains(&card) => rows.set(row, Field::Mac, at, value),
            "ip" | "ip6" if !matches!(value, "dhcp" | "auto" | "manual") => rows.set_listed_ip(row, at, value),
            "uuid" => rows.set(row, Field::Uuid, at, value),
            _ => {}
        }
    }
}

/// Key and value of a line, where it is a setting.
fn setting(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    let plain = key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.'));
    (plain && (value.is_empty() || value.starts_with([' ', '\t']))).then(|| (key, value.trim_start()))
}

/// The folder after this one: `/etc/pve/nodes/pve3/qemu-server/100.conf` runs on pve3.
fn between<'a>(file: &'a str, folder: &str) -> Option<&'a str> {
    let (_, rest) = file.split_once(folder)?;
    rest.split_once('/').map(|(node, _)| node)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{faults, read};

    const GUEST: &str = "#A note%3A net0\nagent: 1\nboot: order=scsi0;net0\ncores: 4\nname: db1\n\
        net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1,tag=10\nnet1: e1000=BC:24:11:00:00:02,bridge=vmbr1\n\
        ipconfig0: ip=10.0.0.5/24,gw=10.0.0.1,ip6=auto\nscsi0: local-lvm:vm-100-disk-0,size=32G\n\
        smbios1: uuid=4F2E-AA\ntags: pci;prod\n\n[before-upgrade]\nname: old\nnet0: virtio=BC:24:11:00:00:99,bridge=vmbr0\n";

    #[test]
    fn a_guest_gives_its_name_cards_addresses_and_tags() {
        let imported = read("/etc/pve/nodes/pve3/qemu-server/100.conf", GUEST);
        let [vm] = imported.vms.as_slice() else { panic!("{imported:?}") };
        assert_eq!(
            (vm.name.as_deref(), vm.uuid.as_deref(), vm.host.as_deref()),
            (Some("db1"), Some("4f2e-aa"), Some("pve3"))
        );
        assert_eq!(
            vm.macs.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["bc:24:11:00:00:01", "bc:24:11:00:00:02"]
        );
        assert_eq!((vm.ips.as_slice(), vm.tags.join(" ")), (&["10.0.0.5".parse().unwrap()][..], "pci prod".to_owned()));
    }

    #[test]
    fn a_container_and_a_guest_without_a_name_have_one_too() {
        let container =
            "arch: amd64\nhostname: ct1\nnet0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:03,ip=dhcp,type=veth\n";
        let imported = read("101.conf", container);
        assert_eq!(
            (imported.vms[0].name.as_deref(), imported.vms[0].macs.len(), imported.vms[0].ips.len()),
            (Some("ct1"), 1, 0)
        );
        assert_eq!(read("/etc/pve/qemu-server/102.conf", "cores: 1\n").vms[0].name.as_deref(), Some("VM 102"));
    }

    #[test]
    fn a_template_is_no_vm() {
        assert!(read("103.conf", "name: golden\ntemplate: 1\n").vms.is_empty());
    }

    #[test]
    fn faults_name_their_line_and_column() {
        let bad = faults("100.conf", "cores: 4\nnet0: virtio=BC:24:11:00,bridge=vmbr0\n");
        assert_eq!(bad, "100.conf:2:14: `BC:24:11:00` is not a MAC address like 52:54:00:aa:bb:cc");
        assert!(faults("100.conf", "cores: 4\nwhat is this\n").starts_with("100.conf:2:1: expected `key: value`"));
    }
}
