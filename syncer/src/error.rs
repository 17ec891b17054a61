//! Why a sync did not get to its end.

use std::time::Duration;

use apimachinery::status::ApiError;

/// What the host said, or that it said nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HostError {
    /// The host cannot be reached, is overloaded or broken: comes back by itself.
    #[error("the host cluster is away: {0}")]
    Away(String),
    /// The host says that we lack a right: our binding in a namespace is not there, or does not count yet.
    #[error("the host cluster gives us no right to it: {0}")]
    NoRight(String),
    /// The host refused.
    #[error("the host cluster refused: {0}")]
    Refused(ApiError),
    /// An object of that name is on the host already and is not ours.
    #[error("the name is taken on the host by an object that does not belong to this virtual cluster")]
    NameTaken,
}

/// Why a sync did not get to its end.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SyncError {
    /// The host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The tenant's API.
    #[error("the tenant's API refused: {0}")]
    Tenant(#[from] ApiError),
    /// The object may not be on the host as it is; it changes nothing to try again before it changes.
    #[error("{0}")]
    Refused(String),
    /// Something else must happen first; look again after this time.
    #[error("waiting: {0}")]
    Wait(&'static str, Duration),
}

impl HostError {
    /// Whether the host said that there is no such object (or no such namespace).
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(e) if e.code == 404)
    }

    /// Whether the host refused by a lost race or a failed precondition.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused(e) if e.code == 409)
    }
}

impl SyncError {
    /// Whether a race was lost: trying again at once is right, and no one needs to hear of it.
    pub fn is_race(&self) -> bool {
        match self {
            Self::Host(e) => e.is_conflict() || e.is_not_found(),
            Self::Tenant(e) => matches!(e.code, 409 | 404),
            _ => false,
        }
    }

    /// What the tenant is told in an event, if it is any of its business.
    pub fn tenant_message(&self) -> Option<String> {
        match self {
            Self::Refused(message) => Some(message.clone()),
            Self::Host(HostError::NameTaken) => Some(self.to_string()),
            Self::Host(HostError::Refused(e)) if !self.is_race() => Some(e.message.clone()),
            Self::Tenant(e) if !self.is_race() && e.code < 500 => Some(e.message.clone()),
            _ => None,
        }
    }
}
