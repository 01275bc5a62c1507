//! (room of incident)
