//! A mirror of its own for a test: network namespaces with two VMs, two bridges that flood every frame, and a mirror
//! port on each. Nothing leaves the namespaces; they and every process in them are gone when the test ends, and what a
//! killed run left is removed by the next.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::suite::harness::{Folder, Ran, command, ran};

/// A command that should end by itself is ended after this long.
const LIFETIME_S: &str = "30";

pub struct Lab {
    base: String,
    pub folder: Folder,
}

/// One of the two VMs: 10.77.0.1 and 10.77.1.1, or .2.
pub struct Agent {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// A running `eastwatch watch`.
pub struct Probe {
    pub child: Child,
    pub errors: PathBuf,
}

impl Lab {
    /// `None`, with a word on stderr, where namespaces may not be made: they need root.
    pub fn new(name: &str) -> Option<Lab> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();
        if output("id", &["-u"]).trim() != "0" {
            eprintln!("{name}: NOT RUN: a lab of network namespaces needs root");
            return None;
        }
        SWEEP.call_once(sweep);
        let base = format!("ew{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let lab = Lab { base, folder: Folder::new(name) };
        let (m, a, b) = (lab.namespace("m"), lab.namespace("a"), lab.namespace("b"));
        let quiet =
            "for f in all default; do echo 1 > /proc/sys/net/ipv6/conf/$f/disable_ipv6; done; ip link set lo up";
        let mut script = String::new();
        for namespace in [&m, &a, &b] {
            script += &format!("ip netns add {namespace}; ip netns exec {namespace} sh -c '{quiet}'\n");
        }
        for k in 0..2 {
            script += &format!(
                "ip -n {m} link add br{k} type bridge ageing_time 0 mcast_snooping 0; ip -n {m} link set br{k} up\n\
                 ip -n {m} link add span{k} type veth peer name mir{k}; ip -n {m} link set span{k} up\n\
                 ip -n {m} link set mir{k} master br{k} up\n"
            );
            for (host, namespace) in [(1, &a), (2, &b)] {
                script += &format!(
                    "ip -n {m} link add p{k}{host} type veth peer name eth{k} netns {namespace}\n\
                     ip -n {m} link set p{k}{host} master br{k} up\n\
                     ip -n {namespace} addr add 10.77.{k}.{host}/24 dev eth{k}; ip -n {namespace} link set eth{k} up\n"
                );
            }
        }
        let made = Command::new("sh").args(["-ec", &script]).output().unwrap();
        assert!(made.status.success(), "the lab could not be built: {}", String::from_utf8_lossy(&made.stderr));
        Some(lab)
    }

    pub fn namespace(&self, which: &str) -> String {
        format!("{}{which}", self.base)
    }

    pub fn agent(&self, which: &str) -> Agent {
        let python = if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" };
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.namespace(which)])
            .args([python, "-c", include_str!("agent.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Agent { child, stdin, stdout }
    }

    /// A command in the namespace of the mirror ports.
    pub fn inside(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace("m"), "timeout", "-s", "KILL", "--foreground", LIFETIME_S]);
        command.arg(program).args(args).env_remove("NO_COLOR").env("LC_ALL", "C.UTF-8");
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        ran(self.inside(&binary(), args).output().unwrap())
    }

    /// Starts `watch` and waits until it listens. The state is `state` in the lab's folder.
    pub fn watch(&self, args: &[&str]) -> Probe {
        self.watch_by(Command::new("ip").args(["netns", "exec", &self.namespace("m")]).arg(binary()), args)
    }

    /// The same, with what comes before `watch` on the command line given.
    pub fn watch_by(&self, by: &mut Command, args: &[&str]) -> Probe {
        let errors = self.folder.file("errors");
        let from = std::fs::metadata(&errors).map_or(0, |m| m.len());
        let log = File::options().create(true).append(true).open(&errors).unwrap();
        let child = by.args(["watch", "--state"]).arg(self.state()).args(args).stderr(log).spawn().unwrap();
        let mut probe = Probe { child, errors };
        let listens = until(20, || {
            probe.log().get(from as usize..).is_some_and(|log| log.contains("eastwatch: watching"))
                || probe.child.try_wait().unwrap().is_some()
        });
        assert!(listens && probe.child.try_wait().unwrap().is_none(), "it did not start: {}", probe.log());
        probe
    }

    pub fn state(&self) -> PathBuf {
        self.folder.file("state")
    }

    /// A query's rows, as a user on this machine gets them.
    pub fn rows(&self, args: &[&str]) -> Vec<Value> {
        let asked = self.ask(&[args, &["--format", "json"]].concat());
        assert_eq!(asked.status, 0, "{args:?}: {}", asked.stderr);
        serde_json::from_str(&asked.stdout).unwrap()
    }

    pub fn ask(&self, args: &[&str]) -> Ran {
        ran(command().arg("--state").arg(self.state()).args(args).output().unwrap())
    }

    pub fn has_service(&self, port: u16) -> bool {
        self.rows(&["services"]).iter().any(|row| row["port"] == port)
    }

    /// Packets that the mirror port itself sent.
    pub fn sent(&self, span: &str) -> u64 {
        let path = format!("/sys/class/net/{span}/statistics/tx_packets");
        output("ip", &["netns", "exec", &self.namespace("m"), "cat", &path]).trim().parse().unwrap()
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.file(name).display().to_string()
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.folder.file(name), text).unwrap();
        self.path(name)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the probe said:\n{}", read(&self.folder.file("errors")));
        }
        for which in ["m", "a", "b"] {
            let _ = Command::new("ip").args(["netns", "del", &self.namespace(which)]).output();
        }
    }
}

impl Agent {
    /// Does it, or fails the test.
    pub fn does(&mut self, what: &str) {
        let said = self.tries(what);
        assert_eq!(said, "ok", "{what}");
    }

    pub fn tries(&mut self, what: &str) -> String {
        writeln!(self.stdin, "{what}").unwrap();
        let mut said = String::new();
        self.stdout.read_line(&mut said).unwrap();
        said.trim().to_owned()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Probe {
    pub fn log(&self) -> String {
        read(&self.errors)
    }

    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Sends a signal and gives the exit status that follows within ten seconds.
    pub fn ends_by(&mut self, name: &str) -> ExitStatus {
        self.signal(name);
        self.ends().unwrap_or_else(|| panic!("SIG{name} did not end it: {}", self.log()))
    }

    pub fn ends(&mut self) -> Option<ExitStatus> {
        until(10, || self.child.try_wait().unwrap().is_some());
        self.child.try_wait().unwrap()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_eastwatch"))
}

pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap();
    assert!(sent.success(), "no process {pid} to send SIG{name}");
}

/// Asks ten times a second, at most `seconds`, and says whether it became true.
pub fn until(seconds: u64, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The events of an EVE file; a line that is no JSON fails the test. The last may still be under way.
pub fn events(text: &str) -> Vec<Value> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn output(program: &str, args: &[&str]) -> String {
    String::from_utf8_lossy(&Command::new(program).args(args).output().unwrap().stdout).into_owned()
}

/// Removes namespaces of test runs that are no more.
fn sweep() {
    for line in output("ip", &["netns", "list"]).lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let pid =
            name.strip_prefix("ew").and_then(|rest| rest.split_once('x')).and_then(|(pid, _)| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}
