//! eastwatch: the probe that security teams put on a vSwitch mirror port to see what virtualization hid.
//!
//! Packet side (`capture` → `decode` → `flow` → `stream` → `app`), one door
//! ([`model::Observation`]), fact side (`inventory` → `baseline` → `detect` → `incident`), and an async edge
//! (`deliver`, `api`). `docs/design.md` draws it.
#![forbid(unsafe_code)]

pub mod api;
pub mod app;
pub mod baseline;
pub mod brain;
pub mod capture;
pub mod cli;
pub mod collector;
pub mod config;
pub mod decode;
pub mod deliver;
pub mod detect;
pub mod flow;
pub mod incident;
pub mod inventory;
pub mod model;
pub mod recog;
pub mod runtime;
pub mod scenario;
pub mod store;
pub mod stream;
pub mod telemetry;
