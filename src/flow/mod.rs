//! (room of flow)
