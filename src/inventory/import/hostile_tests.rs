//! Test only: whatever a file holds, it is taken whole or refused with its place, in bounded time.

use proptest::prelude::*;

use super::{FILE_BYTES_MAX, Format, ImportError, Imported};

const SAMPLES: &[(&str, &str)] = &[
    ("a.csv", "name,macs,ips\na,52:54:00:00:00:01,10.0.0.5\n\"b\"\"\",52:54:00:00:00:02,\n"),
    ("a.toml", "[[vm]]\nname = \"a\"\nmacs = [\"52:54:00:00:00:01\"]\nsanctioned = [\"tcp/80\"]\n"),
    (
        "a.xml",
        "<domain type='kvm'><name>a&#x41;</name><devices><interface><mac address='52:54:00:00:00:01'/></interface></devices></domain>",
    ),
    ("100.conf", "name: a\nnet0: virtio=BC:24:11:00:00:01,bridge=vmbr0\n[snap]\nname: b\n"),
    ("v.csv", "VM;Powerstate;Mac Address;IPv4 Address\nweb;on;00:50:56:00:00:01;10.0.0.5\n"),
    ("s.json", "[{\"ID\": \"a\", \"Name\": \"x\", \"Networks\": {\"n\": [\"10.0.0.5\"]}}]"),
    (
        "n.json",
        "{\"results\": [{\"id\": 1, \"name\": \"x\", \"virtual_machine\": {\"id\": 2, \"name\": \"v\"}, \"mac_address\": \"52:54:00:00:00:01\"}]}",
    ),
];

/// Every format must take it or tell the place.
fn told(file: &str, text: &str) {
    let formats = Format::ALL.iter().map(|format| Some(*format)).chain([None]);
    for format in formats {
        if let Err(ImportError(faults)) = Imported::parse(&[(file, text)], format) {
            assert!(!faults.is_empty() && faults.len() <= 21, "{faults:?}");
            for fault in faults.iter().filter(|fault| !fault.starts_with("and ")) {
                let place = fault.strip_prefix(&format!("{file}:")).unwrap_or_else(|| panic!("no file: {fault}"));
                let mut numbers = place.split(':');
                let mut number = || numbers.next().and_then(|n| n.parse::<usize>().ok()).is_some_and(|n| n > 0);
                assert!(number() && number(), "no line and column: {fault}");
                assert!(fault.len() < 1000 && !fault.chars().any(char::is_control), "{fault:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_cut_and_altered_file_is_taken_or_refused_with_its_place(
        which in 0..SAMPLES.len(), cut in 0.0..1.2, at in 0.0..1.0, with in "[\\x01-\\x7fé<>&\"\\[{;,:=]{0,3}",
    ) {
        let (file, text) = SAMPLES[which];
        let mut chars: Vec<char> = text.chars().collect();
        chars.truncate((cut * chars.len() as f64) as usize);
        let at = (at * chars.len() as f64) as usize;
        chars.splice(at..at, with.chars());
        told(file, &chars.into_iter().collect::<String>());
    }

    #[test]
    fn anything_at_all_is_taken_or_refused_with_its_place(text in "\\PC{0,200}|[<>/a&;\"'=\\[\\]{},: \n]{0,200}") {
        told("x", &text);
    }
}

#[test]
fn every_sample_is_taken_as_it_is() {
    for (file, text) in SAMPLES {
        assert!(Imported::parse(&[(file, text)], None).is_ok_and(|i| !i.vms.is_empty()), "{file}");
    }
}

#[test]
fn a_million_laughs_and_a_thousand_nested_things_are_refused() {
    let deep = |open: &str, close: &str| open.repeat(5_000) + &close.repeat(5_000);
    let laughs = "<!DOCTYPE d [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;'>]><domain><name>&b;</name></domain>";
    for text in [laughs, &deep("<domain>", "</domain>"), &deep("[", "]"), &deep("{\"results\":", "}"), &deep("a.", "")]
    {
        told("x", text);
        let head: String = text.chars().take(20).collect();
        assert!(Imported::parse(&[("x.json", text)], None).is_err(), "{head}");
    }
}

#[test]
fn one_line_of_ten_megabytes_is_refused_or_taken_in_time() {
    let long = "a".repeat(10 << 20);
    let attributes = format!("<domain {}/>", "a='b' ".repeat(200_000));
    let commas = format!("name{}\n", ",".repeat(100_000));
    let texts = [
        ("x.xml", format!("<domain><name>{long}</name></domain>")),
        ("x.xml", attributes),
        ("x.csv", format!("name\n{long}\n")),
        ("x.csv", commas),
        ("x.toml", format!("[[vm]]\nname = \"{long}\"\n")),
        ("x.conf", format!("name: {long}\n")),
        ("x.json", format!("[{{\"ID\": \"{long}\"}}]")),
    ];
    for (file, text) in &texts {
        let parsed = Imported::parse(&[(file, text)], None);
        assert!(parsed.is_err(), "{file}: nothing in it is a VM's");
    }
}

#[test]
fn what_is_too_large_or_binary_is_not_looked_into() {
    let large = "a".repeat(FILE_BYTES_MAX + 1);
    let told = Imported::parse(&[("x.csv", &large)], None).unwrap_err().to_string();
    assert!(told.starts_with("x.csv:1:1: larger than 16 MiB"), "{told}");
    assert!(Imported::parse(&[("x.csv", "name\0\n")], None).is_err());
}
