//! The inventory as its users see it: observations in, VMs, services, peers and changes out.

mod after_move;
mod churn;
mod discovery;
mod evidence;
mod groups;
mod identity;
mod interface_moves;
mod listed;
mod memory;
mod moves;
mod names;
mod port_moves;
mod property;
mod records;
mod transfers;
