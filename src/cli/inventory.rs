//! `inventory`: what operators and hypervisors say of VMs, and how much of it the mirror shows.

use std::path::Path;

use crate::api::Request;
use crate::config::Config;
use crate::inventory::{FILE_BYTES_MAX, InventoryFile};

use super::args::{Global, InventoryCommand, InventoryImportArgs};
use super::output::{Column, column, print, text, write_out};
use super::place::ask;
use super::query::{list, read_text};
use super::{Failure, user_name};

/// A folder of more files is not one of guests.
const FOLDER_FILES_MAX: usize = 10_000;

pub fn run(global: &Global, config: &Config, command: InventoryCommand) -> Result<(), Failure> {
    const COLUMNS: &[Column] = &[
        column("NAME", |r| text(r, "name")),
        column("COVERAGE", |r| text(r, "coverage")),
        column("SEEN AS", |r| text(r, "vm")),
        column("MACS", |r| list(r, "macs")),
        column("ADDRESSES", |r| list(r, "ips")),
        column("HOST", |r| text(r, "host")),
        column("TAGS", |r| list(r, "tags")),
        column("SOURCES", |r| list(r, "sources")),
    ];
    match command {
        InventoryCommand::List { format } => {
            let rows = ask(global, config, Request::InventoryList {})?;
            Ok(print(&rows, COLUMNS, format, global.color, "no inventory was imported")?)
        }
        InventoryCommand::Import(args) => import(global, config, &args),
    }
}

/// All files are one request: a fault in one changes nothing.
fn import(global: &Global, config: &Config, args: &InventoryImportArgs) -> Result<(), Failure> {
    let mut files = Vec::new();
    for path in &args.files {
        let source = args.source.clone().unwrap_or_else(|| path.display().to_string());
        if path.is_dir() {
            folder(path, &source, &mut files)?;
        } else {
            files.push(file(path, source)?);
        }
    }
    let bytes: usize = files.iter().map(|file| file.text.len()).sum();
    if bytes > FILE_BYTES_MAX {
        return Err(Failure::run(format!(
            "{} MiB in all, at most {} at once: import fewer files at a time",
            bytes >> 20,
            FILE_BYTES_MAX >> 20
        )));
    }
    let answer = ask(global, config, Request::InventoryImport { files, format: args.format.clone(), by: user_name() })?;
    for note in answer.get("notes").and_then(serde_json::Value::as_array).into_iter().flatten() {
        eprintln!("eastwatch: {}", note.as_str().unwrap_or_default());
    }
    Ok(write_out(&format!("{}\n", text(&answer, "text")))?)
}

/// The files of a folder, in order of name; hidden ones and folders in it are left out.
fn folder(path: &Path, source: &str, files: &mut Vec<InventoryFile>) -> Result<(), Failure> {
    let told = |e: std::io::Error| Failure::run(format!("{}: cannot be read: {e}", path.display()));
    let mut inside = Vec::new();
    for entry in std::fs::read_dir(path).map_err(told)? {
        let entry = entry.map_err(told)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") && entry.path().is_file() {
            inside.push(entry.path());
        }
        if inside.len() > FOLDER_FILES_MAX {
            return Err(Failure::run(format!("{}: more than {FOLDER_FILES_MAX} files", path.display())));
        }
    }
    inside.sort();
    if inside.is_empty() {
        return Err(Failure::run(format!("{}: no file in it; give the folder that has them", path.display())));
    }
    for path in inside {
        files.push(file(&path, source.to_owned())?);
    }
    Ok(())
}

fn file(path: &Path, source: String) -> Result<InventoryFile, Failure> {
    Ok(InventoryFile { source, name: path.display().to_string(), text: read_text(path)? })
}
