//! Wiring: threads, bounded channels, the merge, the clock. Nobody imports it but main, cli and tests.
//!
//! ```text
//!  source ─► dispatcher ─► worker 0 (shards 0, n, 2n…) ─► merge ─► brain ─► store keeper
//!               │     └──► worker 1 (shards 1, n+1…)  ──►  ▲
//!               └──────────── ticks, its own counters ─────┘
//! ```
//! Channels are bounded and never drop: a full one stops the dispatcher, and in `watch` the kernel's ring then
//! drops and says so. The merge gives the brain one order of observations whatever the number of workers.

mod dispatcher;
mod follower;
mod keeper;
mod merge;
mod parcel;
mod record;
mod run;
pub mod shard;
mod shelf;
mod survey;
mod worker;

pub use dispatcher::{Dispatcher, Idle, Intake, Lane, Stop};
pub use follower::{Follower, Handovers};
pub use keeper::{Keeper, Kept};
pub use merge::{Merge, Report};
pub use parcel::{Entry, Parcel};
pub use record::{CLOCK_LINK, Recorder, Recording};
pub use run::{Mail, Outcome, Plan, mailbox, run};
pub use shelf::Shelf;
pub use survey::Surveyed;
pub use worker::Worker;
