//! (room of stream)
