//! A disk in memory that loses, tears and reorders what was not synced, fills up, and fails.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Cursor, Read};
use std::sync::Arc;

use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;

use crate::embedded::disk::{Disk, DiskFile};

/// What a device writes at once.
const SECTOR: u64 = 512;

#[derive(Clone, Default)]
pub(super) struct SimDisk(Arc<Mutex<Sim>>);

#[derive(Default)]
struct Sim {
    now: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    files: HashMap<u64, Inode>,
    next: u64,
    fault: Option<(u64, Fault)>,
    failing: Option<Fault>,
    /// Files that became a segment for a second time.
    reused: u64,
}

#[derive(Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

enum Pending {
    Write(u64, Vec<u8>),
    Resize(u64),
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    /// The machine stops.
    Power,
    /// Writes fail, syncs do not.
    Full,
    /// A sync fails, and what it should have written counts as clean from then on.
    Sync,
}

impl SimDisk {
    /// After so many more operations a fault begins.
    pub(super) fn fault_after(&self, operations: u64, fault: Fault) {
        self.0.lock().fault = Some((operations, fault));
    }

    /// Whether a fault has begun.
    pub(super) fn failing(&self) -> bool {
        self.0.lock().failing.is_some()
    }

    /// Ends the fault. If it was the power, what was not synced is there in part.
    pub(super) fn recover(&self, rng: &mut StdRng) {
        let mut sim = self.0.lock();
        sim.fault = None;
        if sim.failing.take() != Some(Fault::Power) {
            return;
        }
        let kept = [0.0, 0.5, 0.9, 1.0][rng.random_range(0..4)];
        for file in sim.files.values_mut() {
            let mut durable = std::mem::take(&mut file.durable);
            for pending in std::mem::take(&mut file.pending) {
                if rng.random_bool(kept) {
                    pending.apply(&mut durable);
                }
            }
            file.now = durable.clone();
            file.durable = durable;
        }
        let names: BTreeSet<String> = sim.now.keys().chain(sim.durable.keys()).cloned().collect();
        for name in names {
            let from = if rng.random_bool(kept) { &sim.now } else { &sim.durable };
            match from.get(&name).copied() {
                Some(id) => sim.durable.insert(name, id),
                None => sim.durable.remove(&name),
            };
        }
        sim.now = sim.durable.clone();
    }

    /// How many files became a segment of the log for a second time.
    pub(super) fn reused(&self) -> u64 {
        self.0.lock().reused
    }

    /// The bytes of all files.
    pub(super) fn size(&self) -> usize {
        let sim = self.0.lock();
        sim.now.values().map(|id| sim.files[id].now.len()).sum()
    }

    /// Changes the bytes of a file, durably.
    pub(super) fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut sim = self.0.lock();
        let id = sim.now[name];
        let file = sim.files.get_mut(&id).unwrap();
        edit(&mut file.now);
        file.durable = file.now.clone();
    }

    /// A copy that goes its own way.
    pub(super) fn fork(&self) -> Self {
        let sim = self.0.lock();
        let copy = |f: &Inode| Inode { now: f.now.clone(), durable: f.now.clone(), pending: Vec::new() };
        Self(Arc::new(Mutex::new(Sim {
            now: sim.now.clone(),
            durable: sim.now.clone(),
            files: sim.files.iter().map(|(id, f)| (*id, copy(f))).collect(),
            next: sim.next,
            ..Sim::default()
        })))
    }
}

impl Pending {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, piece) => {
                let end = *offset as usize + piece.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[*offset as usize..end].copy_from_slice(piece);
            }
            Self::Resize(size) => bytes.resize(*size as usize, 0),
        }
    }
}

impl Sim {
    /// Counts an operation; refuses it if something is wrong.
    fn step(&mut self, operation: Fault) -> io::Result<()> {
        if let Some((left, fault)) = &mut self.fault {
            if *left == 0 && (*fault == Fault::Power || *fault == operation) {
                self.failing = Some(*fault);
            }
            *left = left.saturating_sub(1);
        }
        match self.failing {
            Some(fault) if fault == Fault::Power || fault == operation => Err(io::Error::other(format!("{fault:?}"))),
            _ => Ok(()),
        }
    }

    fn id(&self, name: &str) -> io::Result<u64> {
        self.now.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

struct SimFile {
    disk: SimDisk,
    id: u64,
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().now.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut sim = self.0.lock();
        sim.step(Fault::Full)?;
        sim.next += 1;
        let id = sim.next;
        sim.files.insert(id, Inode::default());
        sim.now.insert(name.to_owned(), id);
        Ok(Box::new(SimFile { disk: self.clone(), id }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let id = self.0.lock().id(name)?;
        Ok(Box::new(SimFile { disk: self.clone(), id }))
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let sim = self.0.lock();
        Ok(Box::new(Cursor::new(sim.files[&sim.id(name)?].now.clone())))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut sim = self.0.lock();
        sim.step(Fault::Full)?;
        let id = sim.id(from)?;
        sim.reused += u64::from(from.starts_with("log-") && from.ends_with(".tmp"));
        sim.now.remove(from);
        sim.now.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut sim = self.0.lock();
        sim.step(Fault::Power)?;
        sim.now.remove(name);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut sim = self.0.lock();
        sim.step(Fault::Sync)?;
        sim.durable = sim.now.clone();
        Ok(())
    }
}

impl DiskFile for SimFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut sim = self.disk.0.lock();
        let refused = sim.step(Fault::Full);
        let file = sim.files.get_mut(&self.id).unwrap();
        // What is refused may have been written in part.
        let done = if refused.is_err() { bytes.len() / 2 } else { bytes.len() };
        let mut at = 0;
        while at < done {
            let sector = (SECTOR - (offset + at as u64) % SECTOR) as usize;
            let piece = &bytes[at..done.min(at + sector)];
            let pending = Pending::Write(offset + at as u64, piece.to_vec());
            pending.apply(&mut file.now);
            file.pending.push(pending);
            at += piece.len();
        }
        refused
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut sim = self.disk.0.lock();
        let failed = sim.step(Fault::Sync);
        let lost = sim.failing == Some(Fault::Sync);
        let file = sim.files.get_mut(&self.id).unwrap();
        match failed {
            Ok(()) => file.pending.drain(..).for_each(|p| p.apply(&mut file.durable)),
            Err(_) if lost => file.pending.clear(),
            Err(_) => {}
        }
        failed
    }

    fn resize(&mut self, size: u64) -> io::Result<()> {
        let mut sim = self.disk.0.lock();
        sim.step(Fault::Full)?;
        let file = sim.files.get_mut(&self.id).unwrap();
        Pending::Resize(size).apply(&mut file.now);
        file.pending.push(Pending::Resize(size));
        Ok(())
    }
}
