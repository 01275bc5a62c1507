//! Signals, as flags: SIGINT and SIGTERM stop, SIGHUP reloads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use super::Failure;

/// Sets `stop` at the first SIGINT or SIGTERM; a second one ends the process at once.
pub fn stop_on_interrupt(stop: &Arc<AtomicBool>) -> Result<(), Failure> {
    let stop = Arc::clone(stop);
    let runtime = runtime()?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || runtime.block_on(wait(&stop)))
        .map_err(|e| Failure::run(format!("no thread for signals: {e}")))?;
    Ok(())
}

pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::run(format!("no event loop: {e}")))
}

/// Waits for SIGINT or SIGTERM for ever; the first sets `stop`, the second exits.
pub async fn wait(stop: &Arc<AtomicBool>) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if stop.swap(true, Ordering::Relaxed) {
            eprintln!("eastwatch: stopped without saving");
            std::process::exit(1);
        }
    }
}
