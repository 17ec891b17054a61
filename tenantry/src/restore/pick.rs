//! One virtual cluster out of a backup of all.

use std::io::{self, Read, Write};

use apimachinery::tenant::TenantId;
use apiserver_shim::tenants::tenant_in_backup;
use store::{CollectionId, Contents, Record, extract_backup, read_backup};

/// Which names an error tells at most.
const TOLD: usize = 20;

/// Finds a virtual cluster by its name, `NAMESPACE/NAME`, or its uid.
#[derive(Debug)]
struct Picker<'a> {
    wanted: &'a str,
    found: Vec<Found>,
    others: Vec<String>,
}

/// A virtual cluster of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) id: TenantId,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Why none was taken out.
#[derive(Debug, thiserror::Error)]
pub enum PickError {
    /// The backup cannot be read, or the part of it not be written.
    #[error("this is no whole backup")]
    Backup(#[source] io::Error),
    /// It is not there.
    #[error("the backup has no virtual cluster {wanted:?}; it has {}", list(.others))]
    Missing {
        /// What was asked for.
        wanted: String,
        /// What is there.
        others: Vec<String>,
    },
    /// Several have the name.
    #[error("the backup has several virtual clusters {wanted:?}: name one by namespace or uid: {}", .found.join(", "))]
    Several {
        /// What was asked for.
        wanted: String,
        /// With their uids.
        found: Vec<String>,
    },
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names if names.len() > TOLD => format!("{} and {} more", names[..TOLD].join(", "), names.len() - TOLD),
        names => names.join(", "),
    }
}

impl<'a> Picker<'a> {
    fn new(wanted: &'a str) -> Self {
        Self { wanted, found: Vec::new(), others: Vec::new() }
    }

    /// Writes the part of a backup that is this virtual cluster's, with the server's record of it, and says whose it is.
    fn pick(mut self, input: &mut dyn Read, out: &mut dyn Write) -> Result<Found, PickError> {
        extract_backup(input, out, &mut |collection, record| self.wants(collection, record))
            .map_err(PickError::Backup)?;
        let wanted = self.wanted.to_owned();
        match &self.found[..] {
            [] => Err(PickError::Missing { wanted, others: self.others }),
            [one] => Ok(one.clone()),
            several => {
                let told = |f: &Found| format!("{}/{} ({})", f.namespace, f.name, f.id);
                Err(PickError::Several { wanted, found: several.iter().map(told).collect() })
            }
        }
    }

    fn wants(&mut self, collection: &CollectionId, record: &Record) -> bool {
        if collection.tenant != TenantId::SYSTEM {
            // The server's own records come first.
            return self.found.iter().any(|found| found.id == collection.tenant);
        }
        let Some((id, namespace, name)) = tenant_in_backup(collection, record) else { return false };
        let full = format!("{namespace}/{name}");
        let meant = self.wanted == full
            || self.wanted == name
            || self.wanted.parse().is_ok_and(|wanted: TenantId| wanted == id);
        if meant {
            self.found.push(Found { id, namespace, name });
        } else {
            self.others.push(full);
        }
        meant
    }
}

/// The part of a backup that is one virtual cluster's, in memory, and what is in it.
pub(crate) fn pick(wanted: &str, input: &mut dyn Read) -> Result<(Found, Vec<u8>, Contents), PickError> {
    let mut part = Vec::new();
    let found = Picker::new(wanted).pick(input, &mut part)?;
    let contents = read_backup(&mut &part[..]).map_err(PickError::Backup)?;
    Ok((found, part, contents))
}
