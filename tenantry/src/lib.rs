//! The program: configuration, backups, the operator of `VirtualCluster` objects, the tenants' resolver, metrics, and the wiring
//! of all roles into one process.

pub mod backup;
pub mod cli;
pub mod config;
pub mod dns;
pub mod host_facts;
pub mod logging;
pub mod operator;
pub mod ops;
pub mod restore;
pub mod server;
mod store_metrics;
mod upkeep;
