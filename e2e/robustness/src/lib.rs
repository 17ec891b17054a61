//! A model checker over HTTP, in the manner of etcd's robustness tests.
//!
//! Clients create, update, patch, delete, get and list config maps of one namespace while the server and what is below it
//! are disturbed, and watchers follow them and are taken up again. What each asked, when, and what it was told is a
//! [`history`]; [`check`] is a pure function that says what in it no correct server can have said.
//!
//! [`serve`] is the server under test: the API server and the store as the program has them, with a clock that is
//! turned and a file layer that loses, tears and reorders what was not synced ([`disk`]). [`cluster`] is the etcd below it.
//! That the checker finds what is wrong is shown on stores that are wrong on purpose ([`broken`]).

pub mod broken;
pub mod check;
pub mod cluster;
pub mod disk;
pub mod history;
pub mod play;
pub mod process;
pub mod serve;
pub mod watch;
