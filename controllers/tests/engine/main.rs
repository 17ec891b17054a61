//! All controllers at work over the registry, in one process.

#![allow(missing_docs, clippy::unwrap_used)]

mod aggregation;
mod collect;
mod disruption;
mod resourcequota;
mod world;
