//! What leaves the probe: events, and later the channels of notifications. It is given typed facts, decides nothing.

pub mod base64;
pub mod community_id;
pub mod eve;
#[cfg(test)]
mod eve_tests;
mod sink;

pub use eve::{Eve, EveCounters};
pub use sink::{EveError, Sink};
