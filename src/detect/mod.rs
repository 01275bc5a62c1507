//! (room of detect)
