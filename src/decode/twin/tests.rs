//! Twins and what only looks like them, one sentence a test, each with its quiet twin.
