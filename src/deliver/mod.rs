//! (room of deliver)
