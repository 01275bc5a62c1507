//! Where a query is answered: the running probe's socket, or the store of a state folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::api::{self, Request};
use crate::brain::Brain;
use crate::config::Config;
use crate::store::{self, Options};

use super::Failure;
use super::args::Global;

pub const SYSTEM_STATE: &str = "/var/lib/eastwatch";
pub const LOCAL_STATE: &str = "eastwatch-state";
/// How long a query waits for a `read` that holds the state.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// `--state`, else the configuration's, else the running probe's, else `./eastwatch-state`, else the system's.
pub fn state_of_query(global: &Global, config: &Config) -> PathBuf {
    if let Some(dir) = global.state.clone().or_else(|| config.store.dir.clone()) {
        return dir;
    }
    let system = Path::new(SYSTEM_STATE);
    let local = Path::new(LOCAL_STATE);
    if !api::socket_path(system).exists() && local.is_dir() { local.to_owned() } else { system.to_owned() }
}

/// Asks whoever can answer, and says on stderr who did.
pub fn ask(global: &Global, config: &Config, request: Request) -> Result<Value, Failure> {
    let dir = state_of_query(global, config);
    if dir.exists() && !dir.is_dir() {
        return Err(Failure::run(format!("{}: is a file; a state is a directory, name that", dir.display())));
    }
    if let Some(answer) = api::ask(&api::socket_path(&dir), &request) {
        told(global, &format!("asking the running probe of {}", dir.display()));
        return answer.map_err(Failure::run);
    }
    if !dir.is_dir() {
        return Err(Failure::run(format!(
            "{}: there is no state here yet; `eastwatch read FILE` makes ./{LOCAL_STATE}, `--state DIR` names another",
            dir.display()
        )));
    }
    told(global, &format!("reading the state in {}", dir.display()));
    let options = Options { lock_wait: LOCK_WAIT, ..Options::default() };
    let (store, recovery) = store::open(&dir, options).map_err(Failure::run)?;
    if let Some(recovery) = recovery {
        eprintln!("eastwatch: {recovery}");
    }
    let mut brain = Brain::load(Box::new(store), config.brain()).map_err(Failure::run)?;
    let answer = api::answer(&mut brain, request).map_err(Failure::run);
    brain.save().map_err(Failure::run)?;
    answer
}

fn told(global: &Global, text: &str) {
    if !global.quiet {
        eprintln!("eastwatch: {text}");
    }
}
