//! The commands: one file each, or one for a family. Human output goes to stdout, logs and progress to stderr.

pub mod args;
mod calibrate;
mod carry;
mod doctor;
mod generate;
mod handle;
mod inventory;
mod output;
mod place;
mod query;
mod read;
mod settings;
mod signals;
mod summary;
mod watch;

use std::fmt;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Color, Command, Global};

/// Why a command ends without success: the exit status and one line (what, where, the mend).
#[derive(Debug)]
pub struct Failure {
    pub status: u8,
    pub text: String,
}

impl Failure {
    pub fn run(text: impl fmt::Display) -> Self {
        Failure { status: 1, text: text.to_string() }
    }

    pub fn usage(text: impl fmt::Display) -> Self {
        Failure { status: 2, text: text.to_string() }
    }

    /// `--fail-on` found something; it was already told.
    pub fn found() -> Self {
        Failure { status: 3, text: String::new() }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::run(error)
    }
}

/// Parses the command line, runs the command, and tells its failure in one line.
pub fn main() -> ExitCode {
    let mut cli = Cli::parse();
    logs(&cli.global);
    if cli.global.color == Color::Auto && (!io::stdout().is_terminal() || crate::config::no_color()) {
        cli.global.color = Color::Never;
    }
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.text.is_empty() {
                eprintln!("eastwatch: {}", failure.text);
            }
            ExitCode::from(failure.status)
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let global = cli.global;
    match cli.command {
        Command::Completions { shell } => return generate::completions(shell),
        Command::Man { dir } => return generate::man(&dir),
        Command::Config(command) => return settings::run(&global, &command),
        Command::Doctor(args) => return doctor::run(&global, &args),
        _ => {}
    }
    let loaded = settings::loaded(&global)?;
    let config = loaded.config.clone();
    match cli.command {
        Command::Read(args) => read::run(&global, loaded, args),
        Command::Watch(args) => watch::run(&global, loaded, args),
        Command::Vms(args) => query::vms(&global, &config, args),
        Command::Services(args) => query::services(&global, &config, args),
        Command::Peers(args) => query::peers(&global, &config, args),
        Command::Incidents(args) => handle::incidents(&global, &config, args),
        Command::Inventory(command) => inventory::run(&global, &config, command),
        Command::Why(args) => query::why(&global, &config, args),
        Command::Baseline(command) => handle::baseline(&global, loaded, command),
        Command::Sanction(command) => handle::sanction(&global, &config, command),
        Command::Completions { .. } | Command::Man { .. } | Command::Config(_) | Command::Doctor(_) => Ok(()),
    }
}

fn logs(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, _) => "debug",
    };
    let colour = match global.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => io::stderr().is_terminal() && !crate::config::no_color(),
    };
    // A second initialisation (tests in one process) keeps the first.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(format!("eastwatch={level}")))
        .with_writer(io::stderr)
        .with_ansi(colour)
        .with_target(false)
        .try_init();
}

/// Who decides something, for timelines and approvals.
fn user_name() -> String {
    crate::config::user_name()
}
