//! One answer to each question, whether a probe runs or not.
//!
//! A [`Request, SanctionRow`] is answered by [`answer`] on a [`Brain`](crate::brain::Brain): the running probe's, reached through
//! `STATE/control.sock`, or one loaded from the store. Both give the same JSON, which the command line prints.

mod answer;
mod carry;
mod client;
mod health;
mod request;
mod server;

pub use answer::{Asked, answer};
pub use client::{ask, socket_path};
pub use health::{Health, HealthConfig, Sight};
pub use request::{ROUTES, Request, Route, SanctionRow, TextFile};
pub use server::{Server, serve};
