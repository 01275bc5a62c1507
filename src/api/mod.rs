//! (room of api)
