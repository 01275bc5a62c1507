//! Who is there and what they offer: endpoints → VMs, services, peer edges. Fed by observations, it reports
//! [`Change`]s; it judges nothing.

mod change;

pub use change::{Basis, Change, What};
