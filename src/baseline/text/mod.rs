//! The text of a document: TOML for people, review and git, or JSON, of one shape.
//! A text has at most [`TEXT_BYTES_MAX`]; a longer one is refused unread.

mod node;
mod read;
#[cfg(test)]
mod tests;
mod write;

/// The baselines of a few thousand VMs, and what the control socket takes.
pub const TEXT_BYTES_MAX: usize = 32 << 20;

/// Lists of a VM, and its readings, by feature.
const FEATURES: [&str; 3] = ["services", "uses", "peers"];
