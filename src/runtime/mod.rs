//! (room of runtime)

pub mod shard;
