//! What no engine takes.

use std::collections::HashSet;

use bytes::Bytes;

use crate::{StoreError, Write};

/// The longest name of a record or collection, in bytes.
pub(crate) const NAME: usize = 1024;
/// The most bytes of a transaction.
pub(crate) const TRANSACTION: usize = 16 << 20;
/// Refuses what no engine takes, and gives each value memory of its own: a slice would keep alive the request that it
/// came in.
pub(crate) fn prepare(mut writes: Vec<Write>) -> Result<Vec<Write>, StoreError> {
    let mut bytes = 0;
    let mut collections = HashSet::new();
    for write in &writes {
        let (collection, name) = (&write.key.collection.name, &write.key.name);
        if collection.contains('\0') {
            return Err(StoreError::BadTransaction("a collection's name has a NUL"));
        }
        if collection.is_empty() || name.is_empty() {
            return Err(StoreError::BadTransaction("a collection or record has an empty name"));
        }
        if collection.len() > NAME || name.len() > NAME {
            return Err(StoreError::BadTransaction("a name is longer than 1024 bytes"));
        }
        bytes += collection.len() + name.len() + write.value.as_ref().map_or(0, Bytes::len);
        if writes.len() > 1 && !collections.insert(&write.key.collection) {
            return Err(StoreError::BadTransaction("two writes to one collection"));
        }
    }
    if writes.is_empty() {
        return Err(StoreError::BadTransaction("no writes"));
    }
    if bytes > TRANSACTION {
        return Err(StoreError::BadTransaction("more than 16 MiB"));
    }
    for write in &mut writes {
        if let Some(value) = &mut write.value {
            *value = Bytes::copy_from_slice(value);
        }
    }
    Ok(writes)
}
