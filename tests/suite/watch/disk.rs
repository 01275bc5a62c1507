//! A disk that fills under load: a small file system in a mount namespace of its own.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use eastwatch::model::Side;
use eastwatch::scenario::{Format, Scenario, payload};

use super::health::asks;
use super::lab::{Lab, Probe, binary, events, read, until};
use super::{ENFORCE, LEARN};
use crate::suite::harness::{Ran, ran};

const HEALTH: &str = "[health]\nlisten = \"127.0.0.1:8080\"\n";

/// A process that keeps the mount namespace with the small disk.
struct SmallDisk {
    holder: Child,
    at: PathBuf,
    namespace: String,
}

impl SmallDisk {
    fn new(lab: &Lab, mib: u32) -> Self {
        let at = lab.folder.file("disk");
        std::fs::create_dir(&at).unwrap();
        let script = format!("mount -t tmpfs -o size={mib}m small {} && echo ok && exec sleep 120", at.display());
        let mut holder = Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", &script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0u8; 2];
        std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut said).expect("the disk could not be mounted");
        SmallDisk { holder, at, namespace: lab.namespace("m") }
    }

    /// A command that sees the disk, in the namespace of the mirror.
    fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            format!("--mount=/proc/{}/ns/mnt", self.holder.id()),
            format!("--net=/run/netns/{}", self.namespace),
        ]);
        command.arg(binary());
        command
    }

    fn ask(&self, args: &[&str]) -> Ran {
        ran(self.command().arg("--state").arg(self.at.join("state")).args(args).output().unwrap())
    }

    fn incidents(&self) -> Vec<u64> {
        let asked = self.ask(&["incidents", "--format", "json"]);
        assert_eq!(asked.status, 0, "{}", asked.stderr);
        let rows: Vec<serde_json::Value> = serde_json::from_str(&asked.stdout).unwrap();
        let mut ports: Vec<u64> = rows.iter().filter_map(|row| row["service"]["port"].as_u64()).collect();
        ports.sort_unstable();
        ports
    }

    /// From outside, through the holder's root.
    fn file(&self, name: &str) -> PathBuf {
        let inside = self.at.strip_prefix("/").unwrap();
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(inside).join(name)
    }

    /// Somebody else takes all the room there is.
    fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.file("filler")).unwrap();
        let block = vec![0x55u8; 64 << 10];
        while file.write_all(&block).is_ok() {}
        let _ = (0..16).try_for_each(|_| file.write_all(&block[..4096]));
    }

    fn empty(&self) {
        std::fs::remove_file(self.file("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[test]
fn a_full_disk_sheds_and_is_told_and_loses_no_incident() {
    let Some(lab) = Lab::new("disk") else { return };
    let (mut a, mut b) = (lab.agent("a"), lab.agent("b"));
    let disk = SmallDisk::new(&lab, 24);
    let config = lab.write("config.toml", &format!("{LEARN}{HEALTH}"));
    let (state, eve) = (disk.at.join("state").display().to_string(), disk.at.join("eve.json").display().to_string());
    let args = ["-i", "span0", "--config", &config, "--flows", "--eve", &eve];
    // Its state is on the small disk: a later --state would be a second one.
    let watch = |lab: &Lab| -> Probe {
        let before = read(&lab.folder.file("errors")).len();
        let log = File::options().create(true).append(true).open(lab.folder.file("errors")).unwrap();
        let child = disk.command().args(["watch", "--state", &state]).args(args).stderr(log).spawn().unwrap();
        let probe = Probe { child, errors: lab.folder.file("errors") };
        assert!(until(20, || probe.log()[before..].contains("eastwatch: watching")), "{}", probe.log());
        probe
    };
    let mut probe = watch(&lab);
    b.does("tcp 4000");
    a.does("talk 10.77.0.2 4000");
    assert!(until(5, || disk.ask(&["services", "--format", "csv"]).stdout.contains("4000")), "{}", probe.log());
    lab.write("config.toml", &format!("{ENFORCE}{HEALTH}"));
    probe.signal("HUP");
    assert!(until(5, || probe.log().contains("read anew")), "{}", probe.log());
    let mut opens = |port: u16| {
        b.does(&format!("tcp {port}"));
        a.does(&format!("talk 10.77.0.2 {port}"));
    };
    opens(4001);
    assert!(until(5, || disk.incidents() == [4001]), "{:?}", disk.incidents());
    let blind = |state: &str| {
        let all = events(&read(&disk.file("eve.json")));
        let of =
            |event: &&serde_json::Value| event["eastwatch"]["cause"] == "disk" && event["eastwatch"]["state"] == state;
        all.iter().filter(of).count()
    };
    assert_eq!(blind("open"), 0, "there was room");
    let health = || asks(&lab, "GET / HTTP/1.1\r\nHost: probe\r\n\r\n");
    assert!(health().contains(" 200 OK"), "{}", health());

    disk.fill();
    assert!(until(8, || probe.log().contains("the disk of the state is full")), "nobody was told: {}", probe.log());
    assert!(!disk.file("state/reserve").exists(), "the reserve is for this hour");
    let blind_there = || health().contains(" 503 ") && health().contains("{\"status\":\"blind\"}");
    assert!(until(6, blind_there), "{}", health());
    for port in 4002..=4006 {
        opens(port);
    }
    assert!(until(8, || disk.incidents() == [4001, 4002, 4003, 4004, 4005, 4006]), "{:?}", disk.incidents());
    disk.empty();
    assert!(until(8, || blind("resolved") == 1), "its end was not told: {}", probe.log());
    assert_eq!(blind("open"), 1, "told once when it began");
    assert!(until(6, || health().contains(" 200 OK")), "{}", health());
    assert!(disk.file("state/reserve").exists(), "the reserve was not laid again");

    // Again, and this time it is killed while the disk is full.
    disk.fill();
    assert!(until(8, || !disk.file("state/reserve").exists()), "{}", probe.log());
    for port in 4007..=4011 {
        opens(port);
    }
    let all: Vec<u64> = (4001..=4011).collect();
    assert!(until(8, || disk.incidents() == all), "{:?}", disk.incidents());
    std::thread::sleep(std::time::Duration::from_millis(500));
    probe.ends_by("KILL");
    disk.empty();
    assert_eq!(disk.incidents(), all, "incidents were lost");
    // Every one of them was told too.
    let told: Vec<u64> = events(&read(&disk.file("eve.json")))
        .iter()
        .filter(|event| event["event_type"] == "incident" && event["eastwatch"]["from"].is_null())
        .filter_map(|event| event["eastwatch"]["incident"]["service"]["port"].as_u64())
        .collect();
    assert!(all.iter().filter(|port| **port <= 4006).all(|port| told.contains(port)), "{told:?}");

    let mut probe = watch(&lab);
    assert_eq!(disk.incidents(), all);
    assert_eq!(probe.ends_by("TERM").code(), Some(0), "{}", probe.log());
}

#[test]
fn a_read_on_a_full_disk_ends_with_what_it_had_and_may_be_run_again() {
    let Some(lab) = Lab::new("full-read") else { return };
    let disk = SmallDisk::new(&lab, 24);
    let capture = capture();
    let half = capture.len() / 2;
    let state = disk.at.join("state").display().to_string();
    let mut child = disk
        .command()
        .args(["read", "-", "--state", &state])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&capture[..half]).unwrap();
    stdin.flush().unwrap();
    // Saved at least once: the store lies there and the clock of the state has moved.
    assert!(until(10, || std::fs::metadata(disk.file("state/journal")).is_ok_and(|m| m.len() > 2_000)));
    disk.fill();
    // It may end before it has read all of it.
    let _ = stdin.write_all(&capture[half..]);
    drop(stdin);
    let ended = ran(child.wait_with_output().unwrap());
    assert_eq!(ended.status, 1, "{ended:?}");
    assert!(ended.stderr.contains("full") && ended.stderr.contains("free some space"), "{ended:?}");
    disk.empty();
    let kept = disk.ask(&["vms", "--format", "json"]);
    assert!(kept.status == 0 && kept.stdout.contains("10.0.0.1"), "{kept:?}");
    // With room again the same capture is read, not skipped as held.
    let file = lab.folder.file("whole.pcap");
    std::fs::write(&file, &capture).unwrap();
    let again = ran(disk.command().args(["read", "--state", &state]).arg(&file).output().unwrap());
    assert_eq!(again.status, 0, "{again:?}");
    assert!(!again.stderr.contains("already holds"), "{again:?}");
}

/// An hour in which forty VMs ask one another.
fn capture() -> Vec<u8> {
    let mut s = Scenario::new(7);
    let vms: Vec<_> = (1..=40)
        .map(|n| s.vm(&format!("vm-{n}"), &format!("52:54:00:00:00:{n:02x}"), &format!("10.0.0.{n}")))
        .collect();
    for round in 0..60usize {
        for (at, client) in vms.iter().enumerate() {
            let server = &vms[(at + 1 + round % 39) % vms.len()];
            s.tcp(client, server, 80)
                .handshake()
                .send(Side::Orig, payload::http_get("web", "/"))
                .send(Side::Resp, payload::http_ok("nginx/1.24.0", "hello"))
                .close();
        }
        s.wait_s(60);
    }
    s.encode(Format::PCAP)
}
