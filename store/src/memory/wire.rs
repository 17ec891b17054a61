//! Keys and values as bytes: the parts of which log and snapshots are made.

use apimachinery::tenant::TenantId;
use bytes::Bytes;
use smol_str::SmolStr;

use crate::{CollectionId, Key};

const DELETED: u32 = u32::MAX;

pub(crate) fn put_key(out: &mut Vec<u8>, key: &Key) {
    out.extend_from_slice(key.collection.tenant.as_bytes());
    put_str(out, &key.collection.name);
    put_str(out, &key.name);
}

pub(crate) fn put_str(out: &mut Vec<u8>, s: &str) {
    out.extend_from_slice(&(s.len() as u16).to_le_bytes());
    out.extend_from_slice(s.as_bytes());
}

pub(crate) fn put_value(out: &mut Vec<u8>, value: Option<&Bytes>) {
    match value {
        Some(value) => {
            out.extend_from_slice(&(value.len() as u32).to_le_bytes());
            out.extend_from_slice(value);
        }
        None => out.extend_from_slice(&DELETED.to_le_bytes()),
    }
}

pub(crate) fn take_key(rest: &mut &[u8]) -> Option<Key> {
    let tenant = take_tenant(rest)?;
    let collection = CollectionId { tenant, name: take_str(rest)? };
    Some(Key { collection, name: take_str(rest)? })
}

pub(crate) fn take_tenant(rest: &mut &[u8]) -> Option<TenantId> {
    let (id, tail) = rest.split_first_chunk::<{ TenantId::WIDTH }>()?;
    *rest = tail;
    Some(TenantId::from_bytes(*id))
}

pub(crate) fn take_str(rest: &mut &[u8]) -> Option<SmolStr> {
    let (length, tail) = rest.split_first_chunk::<2>()?;
    let (s, tail) = tail.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    *rest = tail;
    Some(SmolStr::new(std::str::from_utf8(s).ok()?))
}

pub(crate) fn take_value(rest: &mut &[u8]) -> Option<Option<Bytes>> {
    let length = take_u32(rest)?;
    if length == DELETED {
        return Some(None);
    }
    let (value, tail) = rest.split_at_checked(length as usize)?;
    *rest = tail;
    Some(Some(Bytes::copy_from_slice(value)))
}

pub(crate) fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    let (n, tail) = rest.split_first_chunk::<4>()?;
    *rest = tail;
    Some(u32::from_le_bytes(*n))
}

pub(crate) fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    let (n, tail) = rest.split_first_chunk::<8>()?;
    *rest = tail;
    Some(u64::from_le_bytes(*n))
}
