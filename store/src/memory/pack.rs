//! A tenant at rest: its records as one block of bytes.
//!
//! A record in a table costs 75 bytes for its place, and those of an idle tenant are nearly all the same as every other
//! tenant's ([`super::common`]). In a pack such a record is four bytes, the number of a value that all packs share, and
//! one or two for its revision; what only this tenant has is compressed.
//!
//! The block, before it is compressed: the number of collections; for each its name, the number of its records, and for
//! each of those the difference of its revision to the one before. The lowest bit beside a name's length or a difference
//! says that name and value are the next ones of the shared; if they are not, both stand there with their lengths.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use smol_str::SmolStr;

use super::swap::{Piece, Swap};
use super::varint::{put_varint, take_varint, unzigzag, zigzag};
use crate::Record;
use crate::compress::{REST, expand, squeeze};

/// A collection as it is put into a pack.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) name: SmolStr,
    /// And whether others have the same.
    pub(crate) records: Vec<(Record, bool)>,
}

/// Names and values that packs refer to.
#[derive(Debug, Default)]
pub(crate) struct Values(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    places: Vec<Option<Value>>,
    free: Vec<u32>,
    /// By name and the address of the bytes, which are the same ones wherever the value is shared.
    by_identity: HashMap<(SmolStr, usize), u32>,
}

#[derive(Debug)]
struct Value {
    name: SmolStr,
    bytes: Bytes,
    /// How many packs refer to it.
    packs: u32,
}

impl Kept {
    /// The number of a value, for one more pack. If it is not known yet it is taken in only if it is `common`.
    fn join(&mut self, name: &SmolStr, bytes: &Bytes, common: bool) -> Option<u32> {
        let identity = (name.clone(), if bytes.is_empty() { 0 } else { bytes.as_ptr() as usize });
        if let Some(number) = self.by_identity.get(&identity).copied() {
            let value = self.places.get_mut(number as usize)?.as_mut()?;
            if value.bytes != *bytes {
                return None;
            }
            value.packs += 1;
            return Some(number);
        }
        if !common {
            return None;
        }
        let value = Value { name: name.clone(), bytes: bytes.clone(), packs: 1 };
        let number = match self.free.pop() {
            Some(number) => {
                *self.places.get_mut(number as usize)? = Some(value);
                number
            }
            None => {
                self.places.push(Some(value));
                (self.places.len() - 1) as u32
            }
        };
        self.by_identity.insert(identity, number);
        Some(number)
    }

    fn leave(&mut self, number: u32) {
        let Some(place) = self.places.get_mut(number as usize) else { return };
        let Some(value) = place else { return };
        value.packs -= 1;
        if value.packs == 0 {
            let address = if value.bytes.is_empty() { 0 } else { value.bytes.as_ptr() as usize };
            self.by_identity.remove(&(value.name.clone(), address));
            *place = None;
            self.free.push(number);
        }
    }
}

/// A tenant's records.
#[derive(Debug)]
pub(crate) struct Pack {
    values: Arc<Values>,
    /// The shared values, in the order in which the block refers to them.
    shared: Box<[u32]>,
    block: Block,
    /// How long the block is when it is not compressed.
    length: usize,
    pub(crate) records: u64,
    /// Bytes of their names and values.
    pub(crate) bytes: u64,
}

#[derive(Debug)]
enum Block {
    Here(Box<[u8]>),
    Filed(Piece),
}

impl Pack {
    /// Packs records. A block of more than `largest` bytes goes into the file.
    ///
    /// # Errors
    /// What compression or the file said.
    pub(crate) fn new(
        values: &Arc<Values>,
        collections: &[Collected],
        swap: Option<&Arc<Swap>>,
        largest: usize,
    ) -> io::Result<Self> {
        let mut raw = Vec::new();
        let mut shared = Vec::new();
        let (mut records, mut bytes, mut before) = (0, 0, 0);
        put_varint(&mut raw, collections.len() as u64);
        {
            let mut kept = values.0.lock();
            for Collected { name, records: found } in collections {
                match name.is_heap_allocated().then(|| kept.join(name, &Bytes::new(), true)).flatten() {
                    Some(number) => {
                        shared.push(number);
                        put_varint(&mut raw, 1);
                    }
                    None => put_str(&mut raw, name),
                }
                put_varint(&mut raw, found.len() as u64);
                for (Record { name, value, revision }, common) in found {
                    let difference = zigzag(before, *revision) << 1;
                    before = *revision;
                    records += 1;
                    bytes += (name.len() + value.len()) as u64;
                    match kept.join(name, value, *common) {
                        Some(number) => {
                            shared.push(number);
                            put_varint(&mut raw, difference | 1);
                        }
                        None => {
                            put_varint(&mut raw, difference);
                            put_str(&mut raw, name);
                            put_varint(&mut raw, value.len() as u64);
                            raw.extend_from_slice(value);
                        }
                    }
                }
            }
        }
        // Made before anything can fail, so that the values are left in any case.
        let length = raw.len();
        let mut pack = Self {
            values: values.clone(),
            shared: shared.into(),
            block: Block::Here(Box::default()),
            length,
            records,
            bytes,
        };
        let packed = squeeze(&raw, REST)?;
        pack.block = match swap {
            Some(swap) if packed.len() > largest => Block::Filed(swap.put(&packed)?),
            _ => Block::Here(packed.into()),
        };
        Ok(pack)
    }

    /// Whether bringing it back reads the file.
    pub(crate) fn is_filed(&self) -> bool {
        matches!(self.block, Block::Filed(_))
    }

    /// About how many bytes it takes in memory.
    pub(crate) fn size(&self) -> u64 {
        let block = match &self.block {
            Block::Here(block) => block.len(),
            Block::Filed(_) => 0,
        };
        (size_of::<Self>() + size_of_val(&*self.shared) + block) as u64
    }

    /// Its collections and their records, as they were put in.
    ///
    /// # Errors
    /// What the file said, or that it is damaged.
    pub(crate) fn unpack(&self) -> io::Result<Vec<(SmolStr, Vec<Record>)>> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a tenant at rest is damaged");
        let raw = match &self.block {
            Block::Here(block) => expand(block, self.length)?,
            Block::Filed(piece) => expand(&piece.read()?, self.length)?,
        };
        let shared: Vec<(SmolStr, Bytes)> = {
            let kept = self.values.0.lock();
            let value = |number: &u32| kept.places.get(*number as usize)?.as_ref();
            let found = self.shared.iter().map(|n| value(n).map(|v| (v.name.clone(), v.bytes.clone())));
            found.collect::<Option<_>>().ok_or_else(damaged)?
        };
        read(&raw, shared).ok_or_else(damaged)
    }
}

impl Drop for Pack {
    fn drop(&mut self) {
        let mut kept = self.values.0.lock();
        self.shared.iter().for_each(|number| kept.leave(*number));
    }
}

/// The lowest bit of the length is 0.
fn put_str(out: &mut Vec<u8>, s: &str) {
    put_varint(out, (s.len() as u64) << 1);
    out.extend_from_slice(s.as_bytes());
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, tail) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = tail;
    Some(taken)
}

fn take_str(rest: &mut &[u8], twice: u64) -> Option<SmolStr> {
    Some(SmolStr::new(std::str::from_utf8(take(rest, twice >> 1)?).ok()?))
}

fn read(mut rest: &[u8], shared: Vec<(SmolStr, Bytes)>) -> Option<Vec<(SmolStr, Vec<Record>)>> {
    let rest = &mut rest;
    let mut shared = shared.into_iter();
    let mut before = 0;
    let collections = take_varint(rest)?;
    let mut all = Vec::new();
    for _ in 0..collections {
        let name = match take_varint(rest)? {
            1 => shared.next()?.0,
            length => take_str(rest, length)?,
        };
        let count = take_varint(rest)?;
        let mut records = Vec::with_capacity(usize::try_from(count).ok()?.min(rest.len()));
        for _ in 0..count {
            let coded = take_varint(rest)?;
            before = unzigzag(before, coded >> 1);
            let (name, value) = match coded & 1 {
                1 => shared.next()?,
                _ => {
                    let length = take_varint(rest)?;
                    let name = take_str(rest, length)?;
                    let length = take_varint(rest)?;
                    (name, Bytes::copy_from_slice(take(rest, length)?))
                }
            };
            records.push(Record { name, value, revision: before });
        }
        all.push((name, records));
    }
    rest.is_empty().then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collected(name: &str, records: &[(&str, &Bytes, u64, bool)]) -> Collected {
        let records = records.iter().map(|(name, value, revision, common)| {
            (Record { name: (*name).into(), value: (*value).clone(), revision: *revision }, *common)
        });
        Collected { name: name.into(), records: records.collect() }
    }

    fn plain(collections: &[Collected]) -> Vec<(SmolStr, Vec<Record>)> {
        let records = |c: &Collected| c.records.iter().map(|(record, _)| record.clone()).collect();
        collections.iter().map(|c| (c.name.clone(), records(c))).collect()
    }

    #[test]
    fn records_come_back_and_shared_ones_stay_shared() {
        let values = Arc::new(Values::default());
        let (rules, own, empty) = (Bytes::from(vec![b'r'; 5000]), Bytes::from_static(b"own"), Bytes::new());
        let long = "rbac.authorization.k8s.io/clusterroles";
        let tenant = |revision: u64| {
            vec![
                collected(long, &[("admin", &rules, revision, true), ("own", &own, revision + 7, false)]),
                collected("pods", &[("empty", &empty, revision - 3, false), ("none", &empty, u64::MAX >> 2, true)]),
                collected("nothing", &[]),
            ]
        };
        let packs: Vec<Pack> = (0..3).map(|i| Pack::new(&values, &tenant(100 + i), None, 0).unwrap()).collect();
        for (i, pack) in packs.iter().enumerate() {
            let found = pack.unpack().unwrap();
            assert_eq!(found, plain(&tenant(100 + i as u64)));
            assert_eq!(found[0].1[0].value.as_ptr(), rules.as_ptr());
            assert!(pack.size() < 300, "{} bytes", pack.size());
            assert_eq!((pack.records, pack.bytes), (4, 5 + 5000 + 3 + 3 + 5 + 4));
        }
        // A value that is known already is shared whoever says that it is common.
        let known = Pack::new(&values, &[collected("c", &[("admin", &rules, 1, false)])], None, 0).unwrap();
        assert_eq!(known.shared.len(), 1);
        drop((packs, known));
        let kept = values.0.lock();
        assert!(kept.by_identity.is_empty() && kept.places.iter().all(Option::is_none));
    }

    #[test]
    fn what_is_large_lies_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let swap = Swap::new(folder.path().join("rest.tmp"));
        let values = Arc::new(Values::default());
        let random: Vec<u8> = (0..20_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let random = Bytes::from(random);
        let tenant = [collected("secrets", &[("x", &random, 5, false)])];
        let small = Pack::new(&values, &tenant, Some(&swap), 1 << 20).unwrap();
        let large = Pack::new(&values, &tenant, Some(&swap), 1000).unwrap();
        assert!(!small.is_filed() && large.is_filed() && large.size() < 200);
        assert_eq!(large.unpack().unwrap(), small.unpack().unwrap());
        let file = std::fs::OpenOptions::new().write(true).open(folder.path().join("rest.tmp")).unwrap();
        file.set_len(100).unwrap();
        assert!(large.unpack().is_err());
    }
}
