//! Telling the outside: EVE JSON lines. One stream of events in order; what cannot be written is counted, and told.

mod community_id;
mod eve;

pub use community_id::community_id;
pub use eve::{Eve, Event, incident_row, quality};
