//! When a datagram came: sockets do not say it, so the clock is asked as it is read.
//! Bound: one reading a datagram; a clock before 1970 reads as 1970.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::Timestamp;

pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_parts(since.as_secs(), u64::from(since.subsec_nanos()))
}
