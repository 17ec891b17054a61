//! The kinds that are synced. A new one is a folder and a line here.

use std::sync::Arc;

use crate::claims::Claims;
use crate::classes::{PRIORITY_CLASSES, RUNTIME_CLASSES, STORAGE_CLASSES};
use crate::configs::{CONFIG_MAPS, SECRETS};
use crate::endpoints::{ENDPOINT_SLICES, ENDPOINTS};
use crate::events::Events;
use crate::namespaces::Namespaces;
use crate::nodes::{Leases, Nodes};
use crate::pods::Pods;
use crate::room::Room;
use crate::services::Services;

/// All rooms.
pub(crate) fn all() -> Vec<Arc<dyn Room>> {
    vec![
        Arc::new(Namespaces),
        Arc::new(Nodes),
        Arc::new(Leases),
        Arc::new(CONFIG_MAPS),
        Arc::new(SECRETS),
        Arc::new(Services),
        Arc::new(ENDPOINTS),
        Arc::new(ENDPOINT_SLICES),
        Arc::new(Claims),
        Arc::new(STORAGE_CLASSES),
        Arc::new(RUNTIME_CLASSES),
        Arc::new(PRIORITY_CLASSES),
        Arc::new(Pods),
        Arc::new(Events),
    ]
}
