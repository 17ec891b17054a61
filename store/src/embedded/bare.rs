//! The log alone, for the benchmark that compares it with other engines.

use std::path::Path;
use std::sync::Arc;

use apimachinery::tenant::TenantId;
use bytes::Bytes;

use super::OpenError;
use super::disk::Folder;
use super::log::{self, Log};
use crate::memory::{State, Transaction, unavailable};
use crate::{CollectionId, Key, StoreError};

/// The log with nothing above it.
pub struct BareLog {
    log: Log,
    state: State,
    next: u64,
}

impl BareLog {
    /// Opens the log in a folder and reads it into memory.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { file: path.display().to_string(), source };
        let folder = Folder::open(path).map_err(io)?.ok_or_else(|| OpenError::Locked(path.display().to_string()))?;
        let (log, state, _) = Log::open(Arc::new(folder), log::SEGMENT)?;
        let next = state.revision + 1;
        Ok(Self { log, state, next })
    }

    /// Makes a batch durable.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]
    pub fn append(&mut self, batch: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), StoreError> {
        let transactions: Vec<_> = batch
            .into_iter()
            .map(|(key, value)| {
                let collection = CollectionId { tenant: TenantId::SYSTEM, name: "records".into() };
                let key = Key { collection, name: String::from_utf8_lossy(&key).into() };
                Transaction::Writes(vec![(key, Some(Bytes::from(value)))])
            })
            .collect();
        self.log.append(self.next, &transactions).map_err(|e| unavailable("appending", &e))?;
        self.next += transactions.len() as u64;
        Ok(())
    }

    /// How many bytes of records opening has read.
    pub fn bytes(&self) -> u64 {
        self.state.sizes.bytes
    }
}
