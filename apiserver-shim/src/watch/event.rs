//! What a change is to a watcher that selects.
//!
//! Source: `k8s.io/apiserver/pkg/storage/cacher/cache_watcher.go`, `convertToWatchEvent`.

/// `type` of a watch event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum EventKind {
    /// The object is there (now) and selected.
    Added,
    /// It was selected and still is.
    Modified,
    /// It is gone, or no longer selected.
    Deleted,
    /// Nothing happened up to this revision that the watcher has not seen.
    Bookmark,
    /// The watch ends.
    Error,
}

impl EventKind {
    /// As it is written.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
            Self::Bookmark => "BOOKMARK",
            Self::Error => "ERROR",
        }
    }

    /// What a change is to a watcher, by whether the object was selected before and is after.
    pub(crate) fn of(before: bool, after: bool) -> Option<Self> {
        match (before, after) {
            (false, true) => Some(Self::Added),
            (true, true) => Some(Self::Modified),
            (true, false) => Some(Self::Deleted),
            (false, false) => None,
        }
    }
}
