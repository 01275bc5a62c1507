//! `config check`, `config show`, and the configuration of every other command.

use std::sync::Arc;

use crate::app::Definitions;
use crate::brain::Brain;
use crate::config::{Config, ConfigError, Loaded};
use crate::recog::Recog;
use crate::runtime::shard::{SHARDS, ShardLimits};

use super::Failure;
use super::args::{ConfigCommand, Global, RunArgs};
use super::output::write_out;

pub fn run(global: &Global, command: &ConfigCommand) -> Result<(), Failure> {
    let loaded = loaded(global)?;
    match command {
        ConfigCommand::Check => {
            let apps = apps(&loaded.config, true)?;
            let name = global.config.as_ref().map_or("the defaults".to_owned(), |p| p.display().to_string());
            let warnings = loaded.warnings.len();
            let more = if warnings > 0 { format!(", {warnings} warnings") } else { String::new() };
            Ok(write_out(&format!("{name}: ok{more}\n{}", apps.told()))?)
        }
        ConfigCommand::Show => Ok(write_out(&loaded.show())?),
    }
}

/// The configuration, its warnings told on stderr.
pub fn loaded(global: &Global) -> Result<Loaded, Failure> {
    let mut loaded = read(global)?;
    if let Some(dir) = &global.state {
        loaded.config.store.dir = Some(dir.clone());
        loaded.from_command_line("store.dir", "--state");
    }
    if !global.quiet {
        loaded.warnings.iter().for_each(|warning| eprintln!("{}", warning.pretty("warning")));
    }
    Ok(loaded)
}

fn read(global: &Global) -> Result<Loaded, Failure> {
    Loaded::load(global.config.as_deref()).map_err(|errors| {
        if let [ConfigError { file, place: None, message, .. }] = errors.as_slice() {
            return Failure::run(format!("{file}: {message}; check --config"));
        }
        faults(&global.config.as_ref().map_or(String::new(), |p| p.display().to_string()), &errors)
    })
}

/// Tells each on stderr, and how many they were.
fn faults(name: &str, errors: &[ConfigError]) -> Failure {
    let text: Vec<String> = errors.iter().map(|e: &ConfigError| e.pretty("error")).collect();
    eprintln!("{}", text.join("\n"));
    let count = errors.len();
    let faults = if count == 1 { "1 fault".to_owned() } else { format!("{count} faults") };
    Failure::run(format!("{name}: {faults}; nothing was done"))
}

/// Names of programs that are not eastwatch's own.
#[derive(Default)]
pub struct Apps {
    pub definitions: Arc<Definitions>,
    pub recog: Option<Recog>,
}

/// Reads what `[apps]` names. With `thorough` every fingerprint is compiled.
pub fn apps(config: &Config, thorough: bool) -> Result<Apps, Failure> {
    let definitions = config.apps.definitions().map_err(|errors| {
        let name = errors.first().map_or(String::new(), |e| e.file.clone());
        faults(&name, &errors)
    })?;
    let mut recog = config.apps.recog.as_deref().map(Recog::load).transpose();
    let told = |e: String| Failure::run(format!("[apps] recog: {e}"));
    if let (true, Ok(Some(recog))) = (thorough, &mut recog) {
        recog.compile_all();
    }
    Ok(Apps { definitions, recog: recog.map_err(told)? })
}

/// Gives a brain the names; what was set aside is told.
pub fn name_by(global: &Global, brain: &mut Brain, definitions: &Definitions, recog: Option<Recog>) {
    if let Some(recog) = recog.as_ref().filter(|recog| !global.quiet && !recog.faults().is_empty()) {
        eprintln!("eastwatch: [apps] recog: {}; `config check` names them", recog.told());
    }
    brain.name_by(definitions.digests(), recog);
}

/// Faults of Recog's files that are told at once; `config check` names so many.
const FAULTS_SHOWN: usize = 50;

impl Apps {
    /// What there is, and what was set aside.
    pub fn told(&self) -> String {
        let mut out = String::new();
        if !self.definitions.is_empty() {
            out.push_str(&format!("[apps] file: {} applications\n", self.definitions.len()));
        }
        if let Some(recog) = &self.recog {
            out.push_str(&format!("[apps] recog: {}\n", recog.told()));
            recog.faults().iter().take(FAULTS_SHOWN).for_each(|fault| out.push_str(&format!("  {fault}\n")));
            let more = recog.faults().len().saturating_sub(FAULTS_SHOWN);
            if more > 0 {
                out.push_str(&format!("  and {more} more\n"));
            }
        }
        out
    }
}

/// The command line over the configuration.
pub fn overlay(loaded: &mut Loaded, args: &RunArgs) -> Result<(), Failure> {
    if let Some(home) = &args.home {
        loaded.config.networks.home = home.parse().map_err(|e| Failure::usage(format!("--home: {e}")))?;
        loaded.from_command_line("networks.home", "--home");
    }
    if let Some(file) = &args.inventory {
        loaded.config.networks.inventory = Some(file.clone());
        loaded.from_command_line("networks.inventory", "--inventory");
    }
    if let Some(mode) = &args.mode {
        loaded.config.baseline.mode =
            serde_json::from_value(mode.clone().into()).map_err(|e| Failure::usage(format!("--mode: {e}")))?;
        loaded.from_command_line("baseline.mode", "--mode");
    }
    Ok(())
}

/// The packet side's limits, for one shard.
pub fn shard_limits(config: &Config) -> ShardLimits {
    ShardLimits {
        flows_max: (config.limits.flows_max / SHARDS).max(1),
        reassembly_bytes_max: (config.limits.reassembly_mib << 20) / SHARDS,
        opening_bytes_max: (config.limits.openings_mib << 20) / SHARDS,
        timeouts: config.flow,
    }
}

/// `--workers`: a number, or auto (cores - 1).
pub fn workers(args: &RunArgs) -> Result<u16, Failure> {
    match args.workers.as_deref() {
        None => Ok(1),
        Some("auto") => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            Ok(u16::try_from(cores.saturating_sub(1)).unwrap_or(1).clamp(1, 64))
        }
        Some(text) => match text.parse() {
            Ok(n @ 1..=64) => Ok(n),
            _ => Err(Failure::usage(format!("--workers: `{text}` is not a number from 1 to 64, nor auto"))),
        },
    }
}
