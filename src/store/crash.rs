//! kill -9 and a full disk, each done to a child process that is this test binary again.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::torture::Folder;
use super::{Batch, Kind, Options, Shed, Store, StoreError, open};

static ROWS: Kind = Kind { tag: 1, name: "row", version: 1 };
static INCIDENTS: Kind = Kind { tag: 2, name: "incident", version: 1 };
/// Names the state directory to a child; without it the children's tests do nothing.
const STATE: &str = "EASTWATCH_TEST_STATE";
/// Records of one batch; batch n replaces batch n - KEPT.
const ROWS_EACH: u32 = 20;
const KEPT: u32 = 50;

#[allow(clippy::disallowed_methods, reason = "a child of a test is told its directory by its environment")]
fn state_of_child() -> Option<std::path::PathBuf> {
    std::env::var_os(STATE).map(Into::into)
}

fn child(test: &str, state: &std::path::Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(STATE, state);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn rows(n: u32) -> Batch {
    let mut batch = Batch::default();
    for i in 0..ROWS_EACH {
        batch.put(&ROWS, &[n.to_be_bytes(), i.to_be_bytes()].concat(), &format!("{n}/{i} {}", "z".repeat(200)));
        if let Some(old) = n.checked_sub(KEPT) {
            batch.delete(&ROWS, &[old.to_be_bytes(), i.to_be_bytes()].concat());
        }
    }
    batch
}

#[test]
fn child_that_applies_until_it_is_killed() {
    let Some(state) = state_of_child() else { return };
    let mut store = open(&state, Options::default()).unwrap().0;
    let from = store.generation() as u32;
    for n in from.. {
        store.apply(&rows(n)).unwrap();
        println!("acknowledged {n}");
        if n % 40 == 39 {
            store.export().unwrap(); // so that some kills fall into an export
        }
    }
}

#[test]
fn kill_9_loses_no_acknowledged_batch_and_leaves_none_half() {
    let folder = Folder::new();
    for round in 0..10u64 {
        let mut killed = child("store::crash::child_that_applies_until_it_is_killed", folder.path()).spawn().unwrap();
        let mut lines = BufReader::new(killed.stdout.take().unwrap()).lines();
        // Somewhere within its work, a different place each round.
        let last = |line: String| line.split_once("acknowledged ").and_then(|(_, n)| n.trim().parse::<u32>().ok());
        let mut acknowledged = lines.by_ref().map_while(Result::ok).find_map(last).expect("the child applies");
        std::thread::sleep(Duration::from_millis(37 * round + 5));
        killed.kill().unwrap();
        killed.wait().unwrap();
        acknowledged = lines.map_while(Result::ok).filter_map(last).last().unwrap_or(acknowledged);

        let (store, told) = open(folder.path(), Options::default()).unwrap();
        assert_eq!(told, None, "round {round}");
        let found: BTreeSet<Vec<u8>> = store.scan(&ROWS).unwrap().into_iter().map(|(id, _)| id).collect();
        let last = store.generation() as u32 - 1;
        assert!(last == acknowledged || last == acknowledged + 1, "{acknowledged} acknowledged, {last} found");
        let expected: BTreeSet<Vec<u8>> = ((last + 1).saturating_sub(KEPT)..=last)
            .flat_map(|n| (0..ROWS_EACH).map(move |i| [n.to_be_bytes(), i.to_be_bytes()].concat()))
            .collect();
        assert!(found == expected, "round {round}: a batch is there in part");
    }
}

#[test]
fn child_that_fills_the_disk() {
    let Some(state) = state_of_child() else { return };
    let options = Options { reserve_bytes: 2 << 20, ..Options::default() };
    let mut store = open(&state, options).unwrap().0;
    let mut applied = 0;
    let full = loop {
        let mut batch = Batch::default();
        // Hardly compressible, never overwritten: the disk must fill.
        batch.put(&ROWS, &u32::to_be_bytes(applied), &format!("{applied} {}", "w".repeat(60_000)));
        match store.apply(&batch) {
            Ok(()) => applied += 1,
            Err(error) => break error,
        }
        assert!(applied < 10_000, "the disk does not fill");
        if store.shed() > Shed::Nothing {
            break StoreError::Full("the journal was full first".to_owned());
        }
    };
    assert!(matches!(full, StoreError::Full(_)), "{full}");
    assert!(store.shed() >= Shed::History && store.counters().full > 0);
    // In the room of the reserve incidents go on.
    let mut kept = 0u32;
    for n in 0..20u32 {
        let mut batch = Batch::default();
        batch.put(&INCIDENTS, &n.to_be_bytes(), &"an incident");
        kept += u32::from(store.apply(&batch).is_ok());
    }
    assert_eq!(kept, 20, "incidents were refused: {:?}", store.shed());
    assert!(store.shed() > Shed::Nothing && store.recover_room() > Shed::Nothing, "there is no room yet");
    drop(store);
    // The disk is still full: it opens all the same, whole, and nothing is set aside.
    let (store, told) = open(&state, options).unwrap();
    assert!(told.is_none_or(|t| !t.rebuilt));
    assert!(store.shed() > Shed::Nothing);
    let rows = store.scan(&ROWS).unwrap().len() as u32;
    assert!(rows == applied || rows == applied + 1, "{applied} rows applied, {rows} found");
    assert_eq!(store.scan(&INCIDENTS).unwrap().len(), 20);
    drop(store);
    // Room again: nothing is shed any more.
    std::fs::remove_file(state.parent().unwrap().join("ballast")).unwrap();
    let mut store = open(&state, options).unwrap().0;
    assert_eq!(store.recover_room(), Shed::Nothing);
    store.close().unwrap();
    println!("the disk was full after {applied} rows");
}

/// On a tmpfs in a mount namespace of its own, so it needs root (or user namespaces that may mount).
#[test]
fn a_full_disk_refuses_keeps_everything_and_opens_again() {
    let folder = Folder::new();
    let disk = folder.path().join("disk");
    std::fs::create_dir_all(&disk).unwrap();
    let script =
        "mount -t tmpfs -o size=40m tmpfs \"$0\" || exit 77; head -c 20m /dev/zero > \"$0/ballast\"; exec \"$@\"";
    let inner = child("store::crash::child_that_fills_the_disk", &disk.join("state"));
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).arg(&disk).arg(inner.get_program()).args(inner.get_args());
    let output = match command.env(STATE, disk.join("state")).output() {
        Ok(output) if output.status.code() != Some(77) && !output.stderr.starts_with(b"unshare:") => output,
        _ => {
            eprintln!("SKIPPED a_full_disk_refuses_keeps_everything_and_opens_again: no right to mount a small disk");
            return;
        }
    };
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("the disk was full after"), "{told}");
}
