//! (configuration)
