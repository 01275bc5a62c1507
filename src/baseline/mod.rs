//! (room of baseline)
