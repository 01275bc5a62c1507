//! Experiments: what is done to a site that has learned for a while, and what eastwatch makes of it.
//! Each is a file; it forks the run and leaves it as it was.

pub mod changes;
pub mod measured;
pub mod plants;
pub mod quiet;
pub mod rows;

use super::run::Run;
use super::sizes::Size;
use super::topology::{self, Plan};
use super::{DAY, HOUR, Micros, Rng};
use measured::Measured;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Days of the quiet run; the last learning phase ends with them.
    pub days: i64,
    /// Experiments after it are run, too.
    pub changes: bool,
}

impl Extent {
    /// What the last learning phase is called.
    pub fn last(&self) -> &'static str {
        if self.days == 28 { "28 d" } else { "all days" }
    }

    /// Learning phases after which new services are started.
    fn phases(&self) -> impl Iterator<Item = (&'static str, Micros)> {
        let end = self.days * DAY;
        let fixed = [("0 h", 0), ("4 h", 4 * HOUR), ("3 d", 3 * DAY)];
        fixed.into_iter().filter(move |(_, after)| *after < end).chain([(self.last(), end)])
    }
}

/// One size and seed: the quiet run, and what forks from it. `say` hears how far it has come.
pub fn measure(size: Size, seed: u64, extent: Extent, say: &dyn Fn(&str)) -> Measured {
    let mut out = Measured::new(size);
    let rng = |stream| Rng::new(seed, 1_000 + stream);
    let mut run = Run::new(topology::site(Plan { size, seed, changes: true }), true);
    let mut watch = quiet::Watch::default();
    if extent.changes {
        planted(size, seed, &mut out, rng(1));
    }
    for (nth, (phase, after)) in extent.phases().enumerate() {
        watch.go(&mut run, after);
        say(phase);
        plants::new_services(&mut run, phase, &mut out, rng(10 + nth as u64));
    }
    watch.judge(&mut run, &mut out);
    if extent.changes {
        say("changes");
        changes::all(&mut run, extent.last(), &mut out, rng(50));
    }
    out
}

/// What is there before or while everything is learned: a run of its own.
fn planted(size: Size, seed: u64, out: &mut Measured, rng: Rng) {
    if size == Size::L {
        return; // the same at M, for a fifth of the time
    }
    for (phase, after) in [("before", 60 * 1_000_000), ("10 h", 10 * HOUR)] {
        let mut run = Run::new(topology::site(Plan { size, seed, changes: true }), true);
        plants::planted(&mut run, phase, after, out, rng.clone());
    }
}
