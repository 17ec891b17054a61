//! The differential suite: the same requests to the host's stock API server and to a virtual cluster must have the same answers.
//!
//! [`corpus`] reads the cases, [`expand`] turns a step into a request, [`play`] sends it to both sides, [`normalize`] removes what
//! must differ (uids, revisions, times, addresses), [`compare`] lists what still does, and [`verdict`] holds that against the
//! differences that the corpus expects. Only [`play`] and [`run`] do I/O.

pub mod compare;
pub mod corpus;
pub mod expand;
pub mod normalize;
pub mod play;
pub mod run;
pub mod verdict;
