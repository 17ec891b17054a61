//! Blank segments: files filled with zeros, made ahead on a thread of their own while the one before is written.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::disk::{Disk, DiskFile};

pub(super) const MARK: &[u8; 8] = b"tnry-log";
/// Bytes of the mark and the random number behind it.
pub(super) const HEAD: usize = 16;
/// Zeros are made durable so many at a time, so that the log does not wait behind all of them.
const ZEROS: u64 = 4 << 20;
/// A smaller segment is not worth a thread.
const SMALL: u64 = 2 << 20;
/// The file of a segment that is not in use yet. Its name tells that it goes when the store is opened again.
const BLANK: &str = "blank.tmp";

/// A segment that holds its head alone.
pub(super) struct Blank {
    pub(super) file: Box<dyn DiskFile>,
    pub(super) nonce: u64,
    pub(super) size: u64,
}

/// Makes the next segment while the present one is in use.
#[derive(Default)]
pub(super) struct Preparer(Option<JoinHandle<io::Result<Blank>>>);

impl Preparer {
    /// Begins with a segment of this size, unless one is on its way.
    pub(super) fn start(&mut self, disk: &Arc<dyn Disk>, size: u64) {
        if self.0.is_none() && size > SMALL {
            let disk = disk.clone();
            let thread = std::thread::Builder::new().name("store-segment".into());
            // Without a thread the segment is made when it is needed.
            self.0 = thread.spawn(move || fill(&*disk, size)).ok();
        }
    }

    /// A segment under its name, durably: the one that was prepared if it is large enough.
    pub(super) fn take(&mut self, disk: &dyn Disk, size: u64, room: u64, name: &str) -> io::Result<Blank> {
        let prepared = self.0.take().and_then(|thread| thread.join().ok()).and_then(Result::ok);
        let blank = match prepared.filter(|blank| blank.size >= room) {
            Some(blank) => blank,
            None => fill(disk, size.max(room))?,
        };
        disk.rename(BLANK, name)?;
        disk.sync()?;
        Ok(blank)
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        // It holds the folder, which may be opened again.
        if let Some(thread) = self.0.take() {
            let _ = thread.join();
        }
    }
}

fn fill(disk: &dyn Disk, size: u64) -> io::Result<Blank> {
    let mut file = disk.create(BLANK)?;
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
    let nonce = RandomState::new().build_hasher().finish();
    file.write_at(0, &[*MARK, nonce.to_le_bytes()].concat())?;
    file.sync()?;
    Ok(Blank { file, nonce, size })
}
