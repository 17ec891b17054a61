//! What a kube-controller-manager does, for all tenants at once.
//!
//! One follower of the change log, one fair queue, one set of workers. A controller maps a change to the names of the
//! objects to look at and, when its turn comes, compares what is with what should be: state is read through the tenant
//! seam each time, nothing is cached, so a tenant in which nothing happens costs nothing.

mod aggregation;
mod claim;
mod context;
mod controller;
mod cronjob;
mod daemonset;
mod deployment;
mod disruption;
mod endpoints;
mod engine;
mod event_ttl;
mod events;
mod garbage;
mod job;
mod metrics;
mod namespace;
mod object;
mod podgc;
mod pods;
mod protection;
mod replicas;
mod resourcequota;
mod revisions;
mod serviceaccount;
mod statefulset;

pub use engine::{Config, Controllers};
pub use metrics::Metrics;
