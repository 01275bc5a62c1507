//! kill -9 while a baseline is imported: what is there afterwards is the old baseline or the new one, whole.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::harness::{Folder, command, copy_folder, eastwatch};
use super::scenarios;

const ROUNDS: u32 = 24;
const VMS: u32 = 120;

fn run(state: &Path, args: &[&str]) -> String {
    let state = state.display().to_string();
    let ran = eastwatch(args.iter().copied().chain(["--state", &state, "-q"]));
    assert_eq!(ran.status, 0, "{args:?}: {}", ran.stderr);
    ran.stdout
}

/// Without its header, which says when it was exported.
fn exported(state: &Path) -> String {
    let text = run(state, &["baseline", "export"]);
    text.split_once("\n\n").expect("a header, then the VMs").1.to_owned()
}

/// What was learned, on many more VMs, and one service less on each that there was.
fn edited(text: &str) -> String {
    let (header, first) = text.split_once("\n\n").unwrap();
    let model = first.split("\n\n").find(|page| page.contains("serves = [")).expect("a VM that serves");
    let id = model.lines().find_map(|line| line.strip_prefix("id = ")).unwrap().trim_matches('"');
    let mut out = format!("{header}\n");
    for page in first.split("\n\n") {
        let served = page.lines().find(|line| line.starts_with("    { port = ") && !line.contains(" of = "));
        out.push('\n');
        out.push_str(&served.map_or(page.to_owned(), |row| page.replacen(&format!("{row}\n"), "", 1)));
        out.push('\n');
    }
    for n in 0..VMS {
        out.push_str(&format!("\n{}\n", model.replace(id, &format!("vm-00000000{n:04x}"))));
    }
    out
}

fn import(state: &Path, file: &str) -> Command {
    let mut command = command();
    command.args(["baseline", "import", file, "-q", "--state"]).arg(state);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn an_import_that_is_killed_leaves_the_old_baseline_or_the_new_one() {
    let folder = Folder::new("import-killed");
    let learned = folder.file("learned");
    let capture = folder.file("learn.pcap");
    let (_, scenario) = scenarios::shell_port().swap_remove(0);
    scenario.write_pcap(&capture).unwrap();
    run(&learned, &["read", &capture.display().to_string()]);
    let file = folder.file("edited.toml").display().to_string();
    std::fs::write(&file, edited(&run(&learned, &["baseline", "export"]))).unwrap();

    let whole = folder.file("whole");
    copy_folder(&learned, &whole);
    let began = Instant::now();
    assert!(import(&whole, &file).status().unwrap().success());
    let takes = began.elapsed();
    let (before, after) = (exported(&learned), exported(&whole));
    assert!(after.len() > before.len() * 10, "the import changes much");

    let (mut old, mut new) = (0, 0);
    for round in 0..=ROUNDS {
        let state = folder.file(&format!("round-{round}"));
        copy_folder(&learned, &state);
        let mut child = import(&state, &file).spawn().unwrap();
        match round {
            ROUNDS => drop(child.wait().unwrap()),
            _ => {
                std::thread::sleep(takes * round / ROUNDS);
                child.kill().unwrap();
                child.wait().unwrap();
            }
        }
        // Opened again it may have something to tell (a lock that a killed process left is none).
        match exported(&state) {
            text if text == before => old += 1,
            text if text == after => new += 1,
            text => panic!("round {round}: neither the old nor the new: {} bytes", text.len()),
        }
        std::fs::remove_dir_all(&state).unwrap();
    }
    println!("killed {ROUNDS} times within {takes:?}: {old} old, {new} new");
    assert!(old > 0 && new > 0, "{old} old, {new} new in {:?}", Duration::from_millis(takes.as_millis() as u64));
}
