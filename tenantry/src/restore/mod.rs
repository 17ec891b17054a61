//! One virtual cluster made of a backup, in its own place or as another one, while the server serves all others.
//!
//! The command reads the backup and sends the running server the part of it that is wanted (`pick.rs`); the server makes of that what
//! the target is to have (`carry.rs`) and puts it in place of what it has ([`Tenants::replace`]).

mod carry;
mod pick;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use apimachinery::tenant::TenantId;
use apiserver_shim::tenants::{ReplaceError, Tenant, Tenants};
use serde::{Deserialize, Serialize};
use store::Plain;

pub(crate) use self::carry::Told;
use self::carry::{CarryError, Target, carry};
pub use self::pick::PickError;
pub(crate) use self::pick::pick;

/// What stays free on the store's disk beside what a restore writes: a full disk would stop the writes of everybody.
const MARGIN: u64 = 64 << 20;
/// How often each record is written: where it is staged, in its place, and in the next snapshot.
const TIMES: u64 = 3;

/// What is to be restored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wanted {
    /// Whose records of the backup: a uid.
    pub(crate) source: String,
    /// Namespace and name of the VirtualCluster that gets them.
    pub(crate) into: (String, String),
    /// Whether what that one has is given up.
    pub(crate) replace: bool,
    /// Whether pods are left out.
    pub(crate) without_pods: bool,
}

/// Why a virtual cluster was not restored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OneError {
    /// The name leads nowhere.
    #[error(
        "there is no virtual cluster {0} here: create it (kubectl tenant create), wait until it is Ready, and restore again"
    )]
    NoTarget(String),
    /// It could fill the disk.
    #[error("restoring it needs some {} MiB in {}, and {} MiB are free: make room, or enlarge the volume", .needed >> 20, path.display(), .free >> 20)]
    NoRoom {
        /// Bytes.
        needed: u64,
        /// Bytes.
        free: u64,
        /// The folder.
        path: PathBuf,
    },
    /// The disk does not say.
    #[error("cannot find out how much room there is in {}", .0.display())]
    Room(PathBuf, #[source] io::Error),
    /// It was not replaced.
    #[error("virtual cluster {0} was not restored")]
    Replace(String, #[source] Box<ReplaceError<CarryError>>),
}

/// Restores virtual clusters that are served.
pub(crate) struct Restorer {
    tenants: Arc<Tenants>,
    /// Where the store lies on a disk of ours.
    disk: Option<PathBuf>,
}

impl Restorer {
    pub(crate) fn new(tenants: Arc<Tenants>, disk: Option<PathBuf>) -> Self {
        Self { tenants, disk }
    }

    /// Puts records of a backup in the place of what a virtual cluster has.
    ///
    /// # Errors
    /// See [`OneError`]. All but a failure of the store half-way leave it as it was.
    pub(crate) async fn restore(
        &self,
        wanted: &Wanted,
        source: TenantId,
        records: Vec<Plain>,
    ) -> Result<Told, OneError> {
        let (namespace, name) = &wanted.into;
        let full = format!("{namespace}/{name}");
        let tenant = self.find(namespace, name).ok_or_else(|| OneError::NoTarget(full.clone()))?;
        self.check_room(&records)?;
        let same = tenant.id() == source;
        let ca = tenant.authority().pem();
        let mut told = Told::default();
        let made = self.tenants.replace(tenant.id(), |present| {
            let target = Target { same, ca: &ca, replace: wanted.replace, without_pods: wanted.without_pods };
            let (records, said) = carry(records, present, &target)?;
            told = said;
            Ok(records)
        });
        told.written = made.await.map_err(|error| OneError::Replace(full.clone(), Box::new(error)))?;
        let Told { objects, written, pods, services, .. } = told;
        tracing::info!(tenant = %tenant.id(), name = full, %source, objects, written, pods, services, "virtual cluster restored");
        Ok(told)
    }

    fn find(&self, namespace: &str, name: &str) -> Option<Arc<Tenant>> {
        let mut served = self.tenants.ids().into_iter().filter_map(|id| self.tenants.get(id));
        served.find(|tenant| {
            let spec = tenant.spec();
            spec.namespace == namespace && spec.name == name
        })
    }

    fn check_room(&self, records: &[Plain]) -> Result<(), OneError> {
        let Some(path) = &self.disk else { return Ok(()) };
        let bytes: usize =
            records.iter().map(|(collection, name, value)| collection.len() + name.len() + value.len()).sum();
        let needed = bytes as u64 * TIMES + MARGIN;
        let disk = rustix::fs::statvfs(path).map_err(|error| OneError::Room(path.clone(), error.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < needed {
            return Err(OneError::NoRoom { needed, free, path: path.clone() });
        }
        Ok(())
    }
}
