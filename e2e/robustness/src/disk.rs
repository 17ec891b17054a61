//! A folder under which the power fails when the process is killed.
//!
//! Of what is written a part goes to the files at once, each sector by chance, and the rest only when it is synced, after a
//! while; so do new names and removals. What `kill -9` leaves behind is what a disk that tears and reorders leaves
//! when the power fails. What was synced is there, and errors of the real files (a full disk) come through.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use store::disk::{Disk, DiskFile, Folder};

/// What a device writes at once.
const SECTOR: u64 = 512;
/// How long a sync takes at most beside that of the real files: time in which the power can fail.
const SLOW: Duration = Duration::from_millis(8);

/// The folder.
pub struct FailingDisk {
    folder: Folder,
    chance: Arc<Chance>,
    /// Renames and removals that are not there yet.
    late: Mutex<Vec<Late>>,
}

enum Late {
    Rename(String, String),
    Remove(String),
}

struct Chance {
    random: Mutex<StdRng>,
    /// How likely something is there at once.
    soon: f64,
    /// Whether what is said to be synced is.
    honest: bool,
}

impl Chance {
    fn soon(&self) -> bool {
        self.random.lock().random_bool(self.soon)
    }

    fn pause(&self) {
        let pause = SLOW.mul_f64(self.random.lock().random());
        std::thread::sleep(pause);
    }
}

impl FailingDisk {
    /// A folder of the file system. `None` if another process has it. One that is not `honest` says that a file is
    /// synced when it is only up to where it was to be the last time.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(path: &Path, seed: u64, honest: bool) -> io::Result<Option<Self>> {
        let mut random = StdRng::seed_from_u64(seed);
        let soon = if honest { [0.0, 0.3, 0.5, 0.7, 0.9, 1.0][random.random_range(0..6)] } else { 0.0 };
        let chance = Arc::new(Chance { random: Mutex::new(random), soon, honest });
        Ok(Folder::open(path)?.map(|folder| Self { folder, chance, late: Mutex::default() }))
    }

    fn catch_up(&self) -> io::Result<()> {
        for late in std::mem::take(&mut *self.late.lock()) {
            match late {
                Late::Rename(from, to) => self.folder.rename(&from, &to)?,
                Late::Remove(name) => self.folder.remove(&name)?,
            }
        }
        Ok(())
    }

    fn file(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(FailingFile { file, chance: self.chance.clone(), late: Vec::new(), synced: 0 })
    }
}

impl Disk for FailingDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.catch_up()?;
        self.folder.list()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        // It may have the name of one that is to go or to be renamed.
        self.catch_up()?;
        self.folder.create(name).map(|file| self.file(file))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.catch_up()?;
        self.folder.open(name).map(|file| self.file(file))
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        self.catch_up()?;
        self.folder.read(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.late.lock().push(Late::Rename(from.to_owned(), to.to_owned()));
        if self.chance.soon() { self.catch_up() } else { Ok(()) }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.late.lock().push(Late::Remove(name.to_owned()));
        if self.chance.soon() { self.catch_up() } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        self.chance.pause();
        self.catch_up()?;
        self.folder.sync()
    }
}

struct FailingFile {
    file: Box<dyn DiskFile>,
    chance: Arc<Chance>,
    /// What is written with the next sync.
    late: Vec<Piece>,
    /// How many of these were said to be synced.
    synced: usize,
}

enum Piece {
    Write(u64, Vec<u8>),
    Resize(u64),
}

impl FailingFile {
    fn catch_up(&mut self) -> io::Result<()> {
        for piece in std::mem::take(&mut self.late) {
            match piece {
                Piece::Write(offset, bytes) => self.file.write_at(offset, &bytes)?,
                Piece::Resize(size) => self.file.resize(size)?,
            }
        }
        Ok(())
    }

    /// Whether a write must wait for one that is late, so as not to be overwritten by it.
    fn behind(&self, offset: u64, end: u64) -> bool {
        self.late.iter().any(|piece| match piece {
            Piece::Write(at, bytes) => *at < end && offset < at + bytes.len() as u64,
            Piece::Resize(_) => true,
        })
    }
}

impl DiskFile for FailingFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let behind = self.behind(offset, offset + bytes.len() as u64);
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let room = usize::try_from(SECTOR - at % SECTOR).unwrap_or(usize::MAX);
            let (sector, behind_it) = rest.split_at(room.min(rest.len()));
            if !behind && self.chance.soon() {
                self.file.write_at(at, sector)?;
            } else {
                self.late.push(Piece::Write(at, sector.to_vec()));
            }
            at += sector.len() as u64;
            rest = behind_it;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.chance.pause();
        let newer = if self.chance.honest { Vec::new() } else { self.late.split_off(self.synced) };
        self.catch_up()?;
        (self.synced, self.late) = (newer.len(), newer);
        self.file.sync()
    }

    fn resize(&mut self, size: u64) -> io::Result<()> {
        if self.late.is_empty() && self.chance.soon() {
            return self.file.resize(size);
        }
        self.late.push(Piece::Resize(size));
        Ok(())
    }
}

impl Drop for FailingFile {
    fn drop(&mut self) {
        // Without a crash what was not synced gets there at some time.
        let _ = self.catch_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a crash leaves: the process's memory is gone, so nothing that is late is caught up with.
    fn crash(disk: FailingDisk, file: Box<dyn DiskFile>) {
        std::mem::forget((disk, file));
    }

    #[test]
    fn what_was_synced_stays_and_of_the_rest_there_is_a_part() {
        let mut left = std::collections::BTreeSet::new();
        for seed in 0..60 {
            let folder = tempfile::tempdir().unwrap();
            let disk = FailingDisk::open(folder.path(), seed, true).unwrap().unwrap();
            let mut file = disk.create("a").unwrap();
            file.write_at(0, &[1; 2048]).unwrap();
            file.write_at(100, &[2; 100]).unwrap();
            file.sync().unwrap();
            disk.rename("a", "b").unwrap();
            disk.sync().unwrap();
            file.write_at(0, &[3; 2048]).unwrap();
            crash(disk, file);
            let bytes = std::fs::read(folder.path().join("b")).unwrap();
            let sectors: Vec<u8> = bytes.chunks(512).map(|sector| sector[150]).collect();
            assert_eq!(sectors.len(), 4);
            assert!([2, 3].contains(&sectors[0]) && sectors[1..].iter().all(|b| [1, 3].contains(b)), "{sectors:?}");
            left.insert(sectors);
        }
        assert!(left.contains(&vec![2, 1, 1, 1]) && left.contains(&vec![3, 3, 3, 3]));
        assert!(left.len() > 4, "nothing was torn: {left:?}");
    }

    #[test]
    fn without_a_crash_nothing_is_lost() {
        for seed in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let disk = FailingDisk::open(folder.path(), seed, true).unwrap().unwrap();
            let mut file = disk.create("a").unwrap();
            file.write_at(0, &[1; 4096]).unwrap();
            file.write_at(1000, &[2; 2000]).unwrap();
            file.resize(3000).unwrap();
            drop(file);
            disk.rename("a", "b").unwrap();
            let mut bytes = Vec::new();
            disk.read("b").unwrap().read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, [vec![1; 1000], vec![2; 2000]].concat());
            disk.remove("b").unwrap();
            assert!(!disk.list().unwrap().contains(&"b".to_owned()));
        }
    }
}
