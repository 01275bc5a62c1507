//! The inventory as its users see it: observations in, VMs, services, peers and changes out.

mod churn;
mod discovery;
mod evidence;
mod groups;
mod identity;
mod listed;
mod memory;
mod moves;
mod names;
mod property;
mod records;
mod transfers;
