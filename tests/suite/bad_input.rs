//! Bad input, as a user meets it: one line that says what, where and the mend; the exit status; and what was readable
//! is analysed and kept.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use eastwatch::scenario::{Format, Scenario};

use super::harness::{Folder, Ran, command, copy_folder, eastwatch, ran};
use super::scenarios;

/// Reading an ordinary capture takes some 40 MiB; the bomb holds 256 MiB.
const BOMB_KIB_MAX: u64 = 96 * 1024;

/// A folder with `good.pcap`, some hundred packets.
fn folder(name: &str) -> Folder {
    let folder = Folder::new(name);
    good().write_pcap(folder.file("good.pcap")).unwrap();
    folder
}

fn good() -> Scenario {
    let (_, scenario) = scenarios::shell_port().pop().unwrap();
    scenario
}

/// `read` of files in the folder, `args` first.
fn read(folder: &Folder, args: &[&str], files: &[&str]) -> Ran {
    let mut command = command();
    command.current_dir(folder.path()).args(["read", "--no-progress"]).args(args).args(files);
    ran(command.output().unwrap())
}

/// Fails with status 1 and says exactly this after the line that names the state.
fn refused(folder: &Folder, args: &[&str], files: &[&str], said: &str) {
    let ran = read(folder, args, files);
    assert_eq!(ran.status, 1, "{files:?}: {ran:?}");
    let last = ran.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with(&format!("eastwatch: {said}")), "{files:?}: {}", ran.stderr);
    let lines = ran.stderr.lines().filter(|l| !l.starts_with("eastwatch: state ")).count();
    assert_eq!(lines, 1, "one line: {}", ran.stderr);
}

#[test]
fn a_file_that_is_no_capture_is_named_with_what_is_wrong_and_the_mend() {
    let folder = folder("no-capture");
    std::fs::write(folder.file("empty.pcap"), b"").unwrap();
    std::fs::write(folder.file("notes.txt"), b"hello, I am no capture").unwrap();
    std::fs::create_dir(folder.file("dir")).unwrap();
    refused(&folder, &[], &["missing.pcap"], "missing.pcap: no such file; check the path");
    refused(&folder, &[], &["empty.pcap"], "empty.pcap: is empty; capture again");
    refused(
        &folder,
        &[],
        &["notes.txt"],
        "notes.txt: is not a capture: it begins with 68 65 6c 6c; give pcap or pcapng",
    );
    refused(&folder, &[], &["dir"], "dir: is a directory; name the captures in it");
    refused(&folder, &[], &["good.pcap", "missing.pcap"], "missing.pcap: no such file");
}

#[test]
fn a_file_of_another_user_is_refused_by_permission() {
    let folder = folder("unreadable");
    let file = folder.file("good.pcap");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let mut read = match std::fs::File::open(&file) {
        // Root reads everything: another one has to try.
        Ok(_) => {
            let binary = folder.file("eastwatch");
            std::fs::copy(env!("CARGO_BIN_EXE_eastwatch"), &binary).unwrap();
            let mut command = Command::new("setpriv");
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(binary);
            command
        }
        Err(_) => command(),
    };
    let output = read.current_dir(folder.path()).args(["read", "--state", "/dev/null/none", "good.pcap"]).output();
    let ran = ran(output.unwrap());
    assert_eq!(ran.status, 1);
    assert_eq!(ran.stderr, "eastwatch: good.pcap: permission denied; make it readable for this user\n");
}

#[test]
fn what_stands_before_a_cut_is_analysed_and_kept() {
    let folder = folder("cut");
    let whole = std::fs::read(folder.file("good.pcap")).unwrap();
    std::fs::write(folder.file("cut.pcap"), &whole[..whole.len() * 2 / 3]).unwrap();
    refused(&folder, &[], &["cut.pcap"], "cut.pcap at byte ");
    let services = eastwatch(["services", "-q", "--state", &folder.file("eastwatch-state").display().to_string()]);
    assert!(services.stdout.contains("tcp/80"), "{}", services.stdout);
    let held = read(&folder, &[], &["cut.pcap"]);
    assert!(held.status == 0 && held.stderr.contains("already holds it"), "{}", held.stderr);
    // Each compressed form, cut in its middle.
    let packed = zstd::encode_all(&whole[..], 3).unwrap();
    std::fs::write(folder.file("cut.pcap.zst"), &packed[..packed.len() / 2]).unwrap();
    refused(&folder, &["--fresh"], &["cut.pcap.zst"], "cut.pcap.zst at byte ");
    std::fs::write(folder.file("cut.pcap.gz"), {
        let packed = gzip(&whole);
        packed[..packed.len() / 2].to_vec()
    })
    .unwrap();
    refused(&folder, &["--fresh"], &["cut.pcap.gz"], "cut.pcap.gz at byte ");
}

#[test]
fn an_unknown_link_type_is_named_and_the_rest_is_read() {
    let folder = folder("link");
    let mut bytes = std::fs::read(folder.file("good.pcap")).unwrap();
    bytes[20] = 201; // Bluetooth HCI
    std::fs::write(folder.file("hci.pcap"), bytes).unwrap();
    refused(&folder, &[], &["hci.pcap"], "hci.pcap: link type 201 is none that can be read, ");
    let both = read(&folder, &["--fresh"], &["hci.pcap", "good.pcap"]);
    assert_eq!(both.status, 1);
    assert!(both.stdout.contains("link type)") && both.stdout.contains("services    4 (4 new)"), "{}", both.stdout);
}

#[test]
fn a_record_that_is_too_long_is_a_counted_discard() {
    let folder = folder("oversize");
    let whole = std::fs::read(folder.file("good.pcap")).unwrap();
    let mut oversize = whole.clone();
    let second = 24 + 16 + u32::from_le_bytes(whole[32..36].try_into().unwrap()) as usize;
    oversize[second + 8..second + 12].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
    std::fs::write(folder.file("oversize.pcap"), oversize).unwrap();
    let one = read(&folder, &[], &["oversize.pcap"]);
    assert_eq!(one.status, 0, "{}", one.stderr);
    assert!(one.stdout.contains("discarded   1 (1 "), "{}", one.stdout);
    let mut snapped = whole;
    snapped[16..20].copy_from_slice(&100u32.to_le_bytes());
    std::fs::write(folder.file("snapped.pcap"), snapped).unwrap();
    let many = read(&folder, &["--fresh"], &["snapped.pcap"]);
    assert!(many.status == 0 && many.stdout.contains(" oversize)"), "{many:?}");
}

#[test]
fn a_bomb_costs_time_but_no_memory() {
    let folder = folder("bomb");
    // Empty records behind a good header; compressed twice it is next to nothing.
    let header = good().encode(Format::PCAP)[..24].to_vec();
    let bomb = [header, vec![0; 256 << 20]].concat();
    std::fs::write(folder.file("bomb.pcap.zst"), zstd::encode_all(&bomb[..], 3).unwrap()).unwrap();
    std::fs::write(folder.file("bomb.pcap.gz"), gzip(&bomb)).unwrap();
    std::fs::write(folder.file("twice.pcap.gz"), gzip(&gzip(&bomb))).unwrap();
    // gzip cannot grow more than a thousandfold; what zstd grows beyond that is refused.
    for (file, status, said) in [("bomb.pcap.zst", 1, "a decompression bomb"), ("bomb.pcap.gz", 0, "")] {
        let mut reader = command();
        reader.current_dir(folder.path()).args(["read", "-q", "--fresh", file]);
        let mut reader = reader.stderr(Stdio::piped()).spawn().unwrap();
        let (mut peak_kib, mut looks) = (0, 0);
        let ended = loop {
            if let Some(status) = reader.try_wait().unwrap() {
                break status;
            }
            peak_kib = peak_kib.max(peak_memory_kib(reader.id()));
            looks += 1;
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut told = String::new();
        reader.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert!(ended.code() == Some(status) && told.contains(said), "{file}: {ended} {told}");
        assert!(looks > 3 && (1..BOMB_KIB_MAX).contains(&peak_kib), "{file}: {peak_kib} KiB, looked {looks} times");
    }
    refused(&folder, &[], &["twice.pcap.gz"], "twice.pcap.gz: is compressed twice; decompress it once");
}

#[test]
fn a_fault_in_the_configuration_is_shown_where_it_stands() {
    let folder = folder("config");
    std::fs::write(folder.file("a.toml"), "[baselin]\nmode = \"auto\"\n\n[networks]\nhome = [\"10.0.0.0/33\"]\n")
        .unwrap();
    let ran = read(&folder, &["-c", "a.toml"], &["good.pcap"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""));
    for part in ["a.toml:1:2", "did you mean `baseline`?", "a.toml:5:9", "`10.0.0.0/33` is not a network"] {
        assert!(ran.stderr.contains(part), "`{part}`: {}", ran.stderr);
    }
    assert!(ran.stderr.ends_with("eastwatch: a.toml: 2 faults; nothing was done\n"), "{}", ran.stderr);
    assert!(!folder.file("eastwatch-state").exists());
    refused(&folder, &["-c", "none.toml"], &["good.pcap"], "none.toml: cannot be opened");
    refused(&folder, &["--inventory", "none.csv"], &["good.pcap"], "none.csv: no such file; check the path");
    std::fs::write(folder.file("vms.csv"), "name,macs\nweb-01,52:54:00:00:00:0b\nweb-02,52:54\n").unwrap();
    refused(&folder, &["--inventory", "vms.csv"], &["good.pcap"], "vms.csv:3:8: ");
    refused(&folder, &["--filter", "tcp prot 80"], &["good.pcap"], "--filter `tcp prot 80`: ");
    refused(&folder, &["--eve", "no/where.json"], &["good.pcap"], "no/where.json: cannot write EVE events there");
}

#[test]
fn usage_errors_end_with_status_2_and_do_nothing() {
    let folder = folder("usage");
    for args in [
        &["read"][..],
        &["frobnicate"],
        &["read", "--fial-on", "high", "good.pcap"],
        &["read", "--fail-on", "huge", "good.pcap"],
        &["read", "--mode", "strict", "good.pcap"],
        &["read", "--home", "10.0.0.0/33", "good.pcap"],
        &["read", "--workers", "zero", "good.pcap"],
        &["watch"],
    ] {
        let ran = ran(command().current_dir(folder.path()).args(args).output().unwrap());
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{args:?}: {}", ran.stderr);
        assert!(!folder.file("eastwatch-state").exists(), "{args:?}");
    }
}

#[test]
fn a_mistake_with_fresh_does_not_cost_the_state() {
    let folder = folder("kept");
    assert_eq!(read(&folder, &["-q"], &["good.pcap"]).status, 0);
    std::fs::write(folder.file("notes.txt"), b"hello, I am no capture").unwrap();
    refused(&folder, &["--fresh"], &["notes.txt"], "notes.txt: is not a capture");
    let again = read(&folder, &[], &["good.pcap"]);
    assert!(again.stderr.contains("state eastwatch-state (1 capture, "), "{}", again.stderr);
    assert!(again.stderr.contains("good.pcap: the state already holds it"), "{}", again.stderr);
}

#[test]
fn a_state_in_use_names_who_uses_it() {
    let folder = folder("locked");
    let mut holder = command();
    holder.current_dir(folder.path()).args(["read", "-q", "-"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut holder = holder.spawn().unwrap();
    let lock = folder.file("eastwatch-state").join("lock");
    let begun = Instant::now();
    while std::fs::read_to_string(&lock).unwrap_or_default().trim().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the first one took no lock");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = holder.id();
    let said = format!("the state eastwatch-state is in use by process {pid}");
    refused(&folder, &[], &["good.pcap"], &said);
    let query = ran(command().current_dir(folder.path()).args(["vms", "--state", "eastwatch-state"]).output().unwrap());
    assert!(query.status == 1 && query.stderr.contains(&said) && query.stderr.contains("waited 5 s"), "{query:?}");
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert_eq!(read(&folder, &[], &["good.pcap"]).status, 0, "free again");
}

#[test]
fn fail_on_ends_with_status_3_from_its_severity_on() {
    let folder = Folder::new("fail-on");
    for (part, scenario) in scenarios::shell_port() {
        scenario.write_pcap(folder.file(&format!("{part}.pcap"))).unwrap();
    }
    // A page on a port that nobody served: high, and nothing aggravates it.
    for (part, scenario) in scenarios::learned_with(|_, _, _| {}, scenarios::new_page) {
        scenario.write_pcap(folder.file(&format!("page-{part}.pcap"))).unwrap();
    }
    assert_eq!(read(&folder, &["-q", "--fail-on", "info"], &["learn.pcap"]).status, 0);
    copy_folder(&folder.file("eastwatch-state"), &folder.file("learned"));
    let all = [("after", "low", 3), ("after", "critical", 3), ("page-after", "high", 3), ("page-after", "critical", 0)];
    for (part, severity, status) in all {
        let state = format!("{part}-{severity}");
        copy_folder(&folder.file("learned"), &folder.file(&state));
        let ran = read(&folder, &["-q", "--state", &state, "--fail-on", severity], &[&format!("{part}.pcap")]);
        assert_eq!((ran.status, ran.stderr.as_str(), ran.stdout.as_str()), (status, "", ""), "{part} {severity}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_panic_and_standard_output_is_the_events_alone() {
    let folder = folder("pipe");
    let ran = read(&folder, &["--eve", "-"], &["good.pcap"]);
    assert_eq!(ran.status, 0);
    assert!(ran.stdout.lines().all(|l| l.starts_with("{\"timestamp\":")), "{}", ran.stdout);
    assert!(ran.stderr.contains("packets "), "the summary goes to stderr: {}", ran.stderr);
    let script = format!("\"$0\" services --format json --state {} | true", shown(&folder.file("eastwatch-state")));
    let piped = Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_eastwatch")]).output().unwrap();
    assert!(!String::from_utf8_lossy(&piped.stderr).contains("anic"), "{piped:?}");
    let mut gone = command();
    gone.current_dir(folder.path()).args(["read", "--fresh", "--eve", "-", "good.pcap"]);
    let mut gone = gone.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(gone.stdout.take());
    let output = gone.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("EVE events are lost"), "{said}");
    assert!(read(&folder, &[], &["good.pcap"]).stderr.contains("already holds it"), "the analysis is kept");
}

#[test]
fn quiet_says_nothing_that_is_no_error() {
    let folder = folder("quiet");
    let ran = read(&folder, &["-q"], &["good.pcap"]);
    assert_eq!((ran.status, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", ""));
    let ran = read(&folder, &["-q"], &["good.pcap"]);
    assert_eq!((ran.status, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", ""), "nothing new is no error");
}

/// The most that a running process ever held, as the kernel counts it.
fn peak_memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
