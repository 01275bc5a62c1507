//! `make corpus`: measures discovery and recognition on the corpus of real captures, prints the figures, and ends
//! with 1 where a target is missed and the differences are not explained (docs/corpus.md).

use std::path::Path;
use std::process::ExitCode;

#[path = "../tests/corpus/mod.rs"]
mod corpus;

/// Where the recording of real servers puts its captures.
const RECORDED: &str = "target/recorded";

fn main() -> ExitCode {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("usage: corpus FOLDER   (the folder that holds MANIFEST.tsv and truth/)");
        return ExitCode::from(2);
    };
    let measured = match corpus::measure(Path::new(&folder), Path::new(RECORDED)) {
        Ok(measured) => measured,
        Err(why) => {
            eprintln!("corpus: {why}");
            return ExitCode::FAILURE;
        }
    };
    print!("{}", measured.print());
    let failures = measured.failures();
    for failure in &failures {
        println!("missed: {failure}");
    }
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
