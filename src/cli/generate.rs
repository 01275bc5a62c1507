//! Shell completions and man pages, generated from the command line itself.

use std::path::Path;

use clap::CommandFactory;

use super::Failure;
use super::args::Cli;
use super::output::write_out;

pub fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "eastwatch", &mut script);
    Ok(write_out(&String::from_utf8_lossy(&script))?)
}

/// `eastwatch.1` and one page a command, `eastwatch-read.1`, `eastwatch-incidents-show.1`…
pub fn man(dir: &Path) -> Result<(), Failure> {
    let told = |e: std::io::Error| Failure::run(format!("{}: {e}", dir.display()));
    std::fs::create_dir_all(dir).map_err(told)?;
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), dir).map_err(told)
}
