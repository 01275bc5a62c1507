//! The inventory as its users see it: observations in, VMs, services, peers and changes out.

mod churn;
mod discovery;
mod identity;
mod memory;
mod moves;
mod property;
