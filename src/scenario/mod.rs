//! (scenario writer)
