//! `make scenarios`: simulated sites of 20, 200 and 1,000 VMs, what eastwatch makes of them, and a table of figures
//! with their targets (docs/scenarios.md). Ends with 1 where a figure that must be met is missed.
//!
//! SEEDS (20), SIZES (S,M,L), DAYS (28), CHANGES (1) and JOBS (all processors) make it smaller.
//! `scenarios write SIZE SEED HOURS FOLDER` writes a site's events and truth as JSON lines, and of size S its packets.

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;

#[allow(dead_code)]
#[path = "../tests/site/mod.rs"]
mod site;

use site::experiment::measured::Measured;
use site::experiment::{Extent, measure, rows};
use site::packets::Packets;
use site::sizes::Size;
use site::topology::{self, Plan};

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// # Errors
/// The arguments are none, or a file cannot be written.
fn write(args: &[String]) -> Result<String, String> {
    let [size, seed, hours, folder] = args else { return Err("usage: write SIZE SEED HOURS FOLDER".to_owned()) };
    let size = Size::read(size).ok_or_else(|| format!("`{size}` is no size: S, M or L"))?;
    let number = |text: &str| text.parse::<u64>().map_err(|e| format!("`{text}`: {e}"));
    let (seed, hours) = (number(seed)?, number(hours)?);
    let mut site = topology::site(Plan { size, seed, changes: true });
    let mut packets = (size == Size::S && hours <= 24).then(|| Packets::new(seed));
    let (mut events, mut count) = (String::new(), 0);
    while let Some(event) = site.event(hours as i64 * site::HOUR) {
        events.push_str(&event.write());
        events.push('\n');
        count += 1;
        if let Some(packets) = &mut packets {
            packets.take(&event);
        }
    }
    let truth: String = site.world.truth.iter().map(|truth| truth.write() + "\n").collect();
    let folder = std::path::Path::new(folder);
    let wrong = |e: std::io::Error| format!("{}: {e}", folder.display());
    std::fs::create_dir_all(folder).map_err(wrong)?;
    std::fs::write(folder.join("events.jsonl"), events).map_err(wrong)?;
    std::fs::write(folder.join("truth.jsonl"), truth).map_err(wrong)?;
    if let Some(mut packets) = packets {
        packets.cut().write_pcap(folder.join("site.pcap")).map_err(wrong)?;
    }
    Ok(format!("{count} events"))
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|verb| verb == "write") {
        return match write(&args[1..]) {
            Ok(done) => {
                println!("{done}");
                ExitCode::SUCCESS
            }
            Err(why) => {
                eprintln!("scenarios: {why}");
                ExitCode::from(2)
            }
        };
    }
    let sizes = std::env::var("SIZES").unwrap_or_else(|_| "S,M,L".to_owned());
    let sizes: Vec<Size> = sizes.split(',').filter_map(Size::read).collect();
    let (seeds, days) = (number("SEEDS", 20), number("DAYS", 28));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let extent = Extent { days: days as i64, changes: number("CHANGES", 1) != 0 };
    // The largest first: none of them is left to run alone at the end.
    let jobs: Vec<(Size, u64)> =
        sizes.iter().rev().flat_map(|size| (1..=seeds as u64).map(move |seed| (*size, seed))).collect();
    let (next, began) = (AtomicUsize::new(0), Instant::now());
    let (sender, receiver) = mpsc::channel::<Measured>();
    let mut all: Option<Measured> = None;
    std::thread::scope(|scope| {
        for _ in 0..number("JOBS", processors).min(jobs.len()) {
            let (sender, jobs, next) = (sender.clone(), &jobs, &next);
            scope.spawn(move || {
                while let Some((size, seed)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let say = |phase: &str| {
                        let after = began.elapsed().as_secs_f64();
                        eprintln!("{after:7.1} s  {} seed {seed}: {phase}", size.name());
                    };
                    let _ = sender.send(measure(*size, *seed, extent, &say));
                }
            });
        }
        drop(sender);
        for measured in receiver {
            match &mut all {
                Some(all) => all.merge(measured),
                None => all = Some(measured),
            }
        }
    });
    let Some(all) = all else {
        eprintln!("scenarios: no size is named S, M or L in SIZES");
        return ExitCode::from(2);
    };
    let (table, missed) = rows::print(&all);
    print!("{table}");
    println!("{seeds} seeds, {days} days, {} conversations, {:.0} s", all.talks, began.elapsed().as_secs_f64());
    for ((row, size, phase), examples) in &all.examples {
        eprintln!("{row:?} {} {phase}:\n  {}", size.name(), examples.join("\n  "));
    }
    for miss in &missed {
        println!("missed: {miss}");
    }
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
