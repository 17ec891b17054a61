//! Identity over real connections: who gets in, as whom, and what they may do.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod connections;
mod etcd;
mod lifecycle;
mod replace;
mod rights;
mod tokens;
mod world;
