//! (room of capture)
