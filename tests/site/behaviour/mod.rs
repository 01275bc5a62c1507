//! Behaviours: what goes on in a site, one generator a file. Each acts when its time has come, tells events at or after
//! that time, and says when it acts next.
//!
//! To add one (a worm, a look-alike): a file here that implements [`Behaviour`], and a line where it is wanted.

pub mod autoscale;
pub mod churn;
pub mod ci;
pub mod desktops;
pub mod failover;
pub mod gossip;
pub mod habit;
pub mod intruder;
pub mod leases;
pub mod moves;
pub mod novelties;
pub mod patch;
pub mod revert;
pub mod rollout;
pub mod rpc;

use super::Micros;
use super::world::World;

pub trait Behaviour: Send {
    /// `None`: it is over.
    fn act(&mut self, now: Micros, world: &mut World) -> Option<Micros>;

    fn copy(&self) -> Box<dyn Behaviour>;
}

impl Clone for Box<dyn Behaviour> {
    fn clone(&self) -> Self {
        self.copy()
    }
}
