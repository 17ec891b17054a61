//! Blank segments: files that were written before, made ahead on a thread of their own while the one before is written.
//!
//! One that a snapshot has replaced is used again. It gets a new random number in its head, so that its old frames are
//! none any more; a new one is filled with zeros.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::disk::{Disk, DiskFile};
use super::log::TEMPORARY;

pub(super) const MARK: &[u8; 8] = b"tnry-log";
/// Bytes of the mark and the random number behind it.
pub(super) const HEAD: usize = 16;
/// Zeros are made durable so many at a time, so that the log does not wait behind all of them.
const ZEROS: u64 = 4 << 20;
/// A smaller segment is not worth a thread.
const SMALL: u64 = 2 << 20;
/// Segments that are kept to be used again, at most.
const SPARES: usize = 4;

/// A segment that holds its head, and behind that no frame of its own.
pub(super) struct Blank {
    name: String,
    pub(super) file: Box<dyn DiskFile>,
    pub(super) nonce: u64,
    pub(super) size: u64,
}

/// A file that a segment can be made of.
struct Spare {
    name: String,
    size: u64,
}

/// Makes the next segment while the present one is in use.
#[derive(Default)]
pub(super) struct Preparer {
    thread: Option<JoinHandle<io::Result<Blank>>>,
    spares: Vec<Spare>,
    retired: Vec<Spare>,
}

impl Preparer {
    /// Begins with a segment of this size, unless one is on its way.
    pub(super) fn start(&mut self, disk: &Arc<dyn Disk>, size: u64) {
        if self.thread.is_none() && size > SMALL {
            let disk = disk.clone();
            let spare = self.spare(size);
            let thread = std::thread::Builder::new().name("store-segment".into());
            // Without a thread the segment is made when it is needed.
            self.thread = thread.spawn(move || make(&*disk, size, spare)).ok();
        }
    }

    /// A segment under its name, durably: the one that was prepared if it is large enough.
    pub(super) fn take(&mut self, disk: &dyn Disk, size: u64, room: u64, name: &str) -> io::Result<Blank> {
        let prepared = self.thread.take().and_then(|thread| thread.join().ok()).and_then(Result::ok);
        let blank = match prepared.filter(|blank| blank.size >= room) {
            Some(blank) => blank,
            None => {
                let size = size.max(room);
                let spare = self.spare(size).filter(|spare| spare.size >= room);
                make(disk, size, spare)?
            }
        };
        disk.rename(&blank.name, name)?;
        disk.sync()?;
        Ok(blank)
    }

    /// Takes a segment out of the log; to be used again, or for good.
    pub(super) fn retire(&mut self, disk: &dyn Disk, name: &str, size: u64) -> io::Result<()> {
        if self.spares.len() + self.retired.len() < SPARES {
            let spare = Spare { name: format!("{name}{TEMPORARY}"), size };
            if disk.rename(name, &spare.name).is_ok() {
                self.retired.push(spare);
                return Ok(());
            }
        }
        disk.remove(name)
    }

    /// It is durable that what was retired is no part of the log any more: only now may it be written to.
    pub(super) fn retired(&mut self) {
        self.spares.append(&mut self.retired);
    }

    /// One of about this size.
    fn spare(&mut self, size: u64) -> Option<Spare> {
        let fits = self.spares.iter().position(|spare| spare.size >= size / 2)?;
        Some(self.spares.swap_remove(fits))
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        // It holds the folder, which may be opened again.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn make(disk: &dyn Disk, size: u64, spare: Option<Spare>) -> io::Result<Blank> {
    let (name, mut file, size) = match spare {
        Some(Spare { name, size }) => {
            let file = disk.open(&name)?;
            (name, file, size)
        }
        None => {
            let name = format!("blank{TEMPORARY}");
            let file = zeros(disk, &name, size)?;
            (name, file, size)
        }
    };
    let nonce = RandomState::new().build_hasher().finish();
    file.write_at(0, &[*MARK, nonce.to_le_bytes()].concat())?;
    file.sync()?;
    Ok(Blank { name, file, nonce, size })
}

fn zeros(disk: &dyn Disk, name: &str, size: u64) -> io::Result<Box<dyn DiskFile>> {
    let mut file = disk.create(name)?;
    let zeros = vec![0; size.min(ZEROS) as usize];
    let mut filled = 0;
    while filled < size {
        let n = (size - filled).min(ZEROS);
        file.write_at(filled, &zeros[..n as usize])?;
        filled += n;
        if filled < size {
            file.sync()?;
        }
    }
    Ok(file)
}
