//! What the behaviour tests share: a folder of their own, and the command.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder that is removed when the test ends.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("eastwatch-{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a run of the command printed, and its exit status.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

pub fn eastwatch<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> Ran {
    ran(command().args(args).output().unwrap())
}

pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eastwatch"));
    command.env_remove("NO_COLOR").env("LC_ALL", "C.UTF-8");
    command
}

pub fn ran(output: Output) -> Ran {
    Ran {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// What a query answers about a state, as JSON.
pub fn learned_from(state: &Path, query: &[&str]) -> serde_json::Value {
    let state = state.display().to_string();
    let ran = eastwatch(query.iter().copied().chain(["--format", "json", "--quiet", "--state", &state]));
    assert_eq!(ran.status, 0, "{query:?}: {}", ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap()
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else if path.is_file() {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// The corpus of real captures, where it lies beside the checkout (or where `EASTWATCH_CORPUS` says).
pub fn corpus() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("EASTWATCH_CORPUS") {
        return Some(path.into());
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    path.is_dir().then_some(path)
}
