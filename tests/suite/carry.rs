//! A baseline as a file: signed by real tools, edited, refused with its place; and as rules that their own checker takes.

use std::path::Path;
use std::process::{Command, Stdio};

use super::harness::{Folder, Ran, eastwatch};
use super::scenarios;

struct Carry {
    folder: Folder,
}

impl Carry {
    /// A state that learned, then saw a shell port open.
    fn new(name: &str) -> Self {
        let carry = Carry { folder: Folder::new(name) };
        let mut args = vec!["read".to_owned()];
        for (part, scenario) in scenarios::shell_port() {
            let file = carry.path(&format!("{part}.pcap"));
            scenario.write_pcap(Path::new(&file)).unwrap();
            args.push(file);
        }
        let ran = carry.run(args.iter().map(String::as_str));
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        carry
    }

    fn path(&self, name: &str) -> String {
        self.folder.file(name).display().to_string()
    }

    fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Ran {
        let state = self.path("state");
        let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        eastwatch(args.into_iter().chain(["--state".to_owned(), state]))
    }

    fn baseline(&self, args: &str) -> Ran {
        self.run(["baseline"].into_iter().chain(args.split(' ')))
    }

    /// The TOML, into a file.
    fn export(&self) -> (String, String) {
        let file = self.path("baseline.toml");
        assert_eq!(self.baseline(&format!("export -o {file}")).status, 0);
        let text = std::fs::read_to_string(&file).unwrap();
        (file, text)
    }
}

fn tool(program: &str, args: &[&str]) {
    let ran = Command::new(program).args(args).stdin(Stdio::null()).output();
    let ran = ran.unwrap_or_else(|e| panic!("{program}: {e}; packaging/setup.sh tests installs it"));
    assert!(ran.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn an_edited_export_is_taken_and_a_faulty_one_changes_nothing_and_says_where() {
    let carry = Carry::new("carry-edit");
    let (file, text) = carry.export();
    assert_eq!(carry.baseline(&format!("import {file} -q")).stdout, "nothing changes\n");
    let edit = |from: &str, to: &str| {
        assert!(text.contains(from), "{from} is not in {text}");
        std::fs::write(&file, text.replacen(from, to, 1)).unwrap();
        carry.baseline(&format!("import {file} -q"))
    };
    for (from, to, told) in [
        ("version = 2", "version = 9", "schema version 9"),
        ("first_seen = ", "frist_seen = ", "did you mean `first_seen`?"),
        ("learned = ", "learned = 99999999", "later than the document's `watched`"),
    ] {
        let ran = edit(from, to);
        assert!(ran.status == 1 && ran.stderr.contains("baseline.toml:") && ran.stderr.contains(told), "{ran:?}");
    }
    assert_eq!(carry.export().1, text, "nothing was changed");
    let row = text.lines().find(|line| line.contains("{ port = ")).unwrap();
    let ran = edit(&format!("{row}\n"), "");
    assert!(ran.status == 0 && ran.stdout.contains('-'), "{ran:?}");
    assert_ne!(carry.export().1, text);
}

#[test]
fn signatures_of_minisign_and_ssh_hold_and_without_one_nothing_is_taken_where_signers_are_set() {
    let carry = Carry::new("carry-sign");
    let (file, text) = carry.export();
    let (keys, secret) = (carry.path("mini.pub"), carry.path("mini.key"));
    tool("minisign", &["-G", "-W", "-f", "-p", &keys, "-s", &secret]);
    let config = carry.path("eastwatch.toml");
    std::fs::write(&config, format!("[baseline]\nsigners = \"{keys}\"\n")).unwrap();
    let unsigned = carry.baseline(&format!("import {file} -q -c {config}"));
    assert!(unsigned.status == 1 && unsigned.stderr.contains("it is not signed"), "{unsigned:?}");
    tool("minisign", &["-S", "-s", &secret, "-m", &file]);
    let signed = carry.baseline(&format!("import {file} -c {config}"));
    assert!(signed.status == 0 && signed.stderr.contains("signed by minisign key"), "{signed:?}");
    std::fs::write(&file, format!("{text}\n")).unwrap();
    let other = carry.baseline(&format!("import {file} -q -c {config}"));
    assert!(other.status == 1 && other.stderr.contains("not of this text"), "{other:?}");
    std::fs::remove_file(format!("{file}.minisig")).unwrap();
    let ssh = carry.path("id");
    tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "ops@example", "-f", &ssh]);
    tool("ssh-keygen", &["-q", "-Y", "sign", "-f", &ssh, "-n", "eastwatch-baseline", &file]);
    let signed = carry.baseline(&format!("import {file} --verify {ssh}.pub"));
    assert!(signed.status == 0 && signed.stderr.contains("signed by ssh key ops@example"), "{signed:?}");
    std::fs::write(&file, &text).unwrap();
    let other = carry.baseline(&format!("import {file} -q --verify {ssh}.pub"));
    assert!(other.status == 1 && other.stderr.contains("nothing is changed"), "{other:?}");
}

#[test]
fn rules_let_every_learned_flow_pass_and_close_the_shell_port() {
    let carry = Carry::new("carry-rules");
    for format in ["nftables", "nsx-csv", "k8s-networkpolicy", "aws-security-group"] {
        let ran = carry.baseline(&format!("export --as {format}"));
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        let line = ran.stderr.lines().find(|line| line.contains("simulated: ")).unwrap();
        let numbers: Vec<usize> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [pass, learned, closed, unsanctioned] = numbers[..] else { panic!("{line}") };
        assert!(pass == learned && learned > 0 && closed == unsanctioned && unsanctioned > 0, "{line}");
        assert!(!ran.stdout.contains("4444"), "{}", ran.stdout);
    }
    let rules = carry.path("rules.nft");
    assert_eq!(carry.baseline(&format!("export --as nftables -q -o {rules}")).status, 0);
    if std::env::var_os("EASTWATCH_NO_NETNS").is_none() {
        // `nft -c` asks the kernel, in a namespace of its own; nothing is put in force.
        tool("unshare", &["-rn", "nft", "-c", "-f", &rules]);
    }
    let json = carry.baseline("export --as aws-security-group -q").stdout;
    assert!(serde_json::from_str::<Vec<serde_json::Value>>(&json).is_ok_and(|groups| !groups.is_empty()), "{json}");
}

#[test]
fn a_diff_by_days_tells_what_was_learned_in_between() {
    let carry = Carry::new("carry-days");
    let all = carry.baseline("diff --from 2000-01-01 -q");
    assert!(all.status == 0 && all.stdout.contains("serves tcp/80"), "{all:?}");
    assert_eq!(carry.baseline("diff --from 2000-01-01 --to 2000-01-02 -q").stdout, "no difference\n");
    assert!(carry.baseline("diff --from yesterday -q").stderr.contains("not a day"));
}
