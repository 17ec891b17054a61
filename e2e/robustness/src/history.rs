//! What clients asked and were told.

use std::collections::BTreeMap;

/// A resourceVersion.
pub type Revision = u64;
/// Microseconds since the run began, on one clock.
pub type Time = u64;
/// The objects of a list by name: their values and revisions.
pub type Objects = BTreeMap<String, (u64, Revision)>;

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Who asked. Each asks one thing at a time.
    pub client: usize,
    /// What for.
    pub call: Call,
    /// When it was sent.
    pub begun: Time,
    /// When the answer was there, or given up.
    pub ended: Time,
    /// The answer.
    pub answer: Answer,
}

/// What is asked. No two writes have one value.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// A new object.
    Create {
        /// Its name.
        key: String,
        /// What it holds.
        value: u64,
    },
    /// Another value in place of that of a revision.
    Update {
        /// Its name.
        key: String,
        /// What it shall hold.
        value: u64,
        /// The resourceVersion that it must have.
        of: Revision,
    },
    /// Another value, whatever is there: the server reads, changes and writes.
    Patch {
        /// Its name.
        key: String,
        /// What it shall hold.
        value: u64,
    },
    /// No object in place of that of a revision.
    Delete {
        /// Its name.
        key: String,
        /// The resourceVersion that it must have.
        of: Revision,
    },
    /// The object.
    Get {
        /// Its name.
        key: String,
    },
    /// All objects: at once, in pages, or as a watch tells them that begins with them.
    List(How),
}

/// How all objects are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// In one answer.
    Whole,
    /// In several, by `limit` and `continue`.
    Pages,
    /// By `sendInitialEvents`.
    Watch,
}

/// What was told.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A create, update or patch was done at a revision.
    Done(Revision),
    /// A delete was done; at which revision is not told.
    Deleted,
    /// The object of a get.
    Found {
        /// What it holds.
        value: u64,
        /// Since when.
        revision: Revision,
    },
    /// The objects of a list.
    Listed {
        /// The revision of the list.
        revision: Revision,
        /// What is in it.
        objects: Objects,
    },
    /// It has another revision (409 Conflict).
    Conflict,
    /// It exists (409 AlreadyExists).
    Exists,
    /// It does not exist (404).
    Absent,
    /// Nobody knows: no answer, or one that leaves it open.
    Lost,
}

/// What a watch told, from its beginning to its end. A watch that is taken up again is another one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watched {
    /// The resourceVersion that it was opened with.
    pub from: Revision,
    /// The one object that was asked for.
    pub key: Option<String>,
    /// When it was opened.
    pub begun: Time,
    /// When it ended, or its watcher did.
    pub ended: Time,
    /// When what was told, in that order.
    pub told: Vec<(Time, Told)>,
}

/// One event of a watch.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// An object was added, modified or deleted.
    Change {
        /// How.
        kind: Kind,
        /// Its name.
        key: String,
        /// What it holds, or held at last.
        value: u64,
        /// The resourceVersion of the event's object.
        revision: Revision,
    },
    /// All up to here was told.
    Bookmark(Revision),
}

impl Told {
    /// Where a watch is after this.
    #[must_use]
    pub fn revision(&self) -> Revision {
        match self {
            Self::Change { revision, .. } | Self::Bookmark(revision) => *revision,
        }
    }
}

/// The type of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ADDED
    Added,
    /// MODIFIED
    Modified,
    /// DELETED
    Deleted,
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { client, call, begun, ended, answer } = self;
        write!(f, "{begun:>10} .. {ended:>10} us  client {client}: {call:?} -> {answer:?}")
    }
}
