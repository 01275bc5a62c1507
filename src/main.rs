//! The `eastwatch` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    eastwatch::cli::main()
}
