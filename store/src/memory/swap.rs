//! Where tenants at rest lie that are too large to stay in memory: one file beside the store.
//!
//! Nothing depends on it for longer than this process lives: log and snapshots have everything. It is made when it is
//! first needed and removed at the end, or at the next start. What comes back is checked by its CRC-32. Room that is
//! given up is used again, and the file shortened when its end is free.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

/// The file.
#[derive(Debug)]
pub(crate) struct Swap {
    path: PathBuf,
    file: OnceLock<File>,
    room: Mutex<Room>,
}

/// Which bytes of the file are free: places with their lengths, no two of them beside each other, none at the end.
#[derive(Debug, Default)]
struct Room {
    free: BTreeMap<u64, u64>,
    end: u64,
}

/// A piece of the file. Gives its room back when it is dropped.
#[derive(Debug)]
pub(crate) struct Piece {
    swap: Arc<Swap>,
    at: u64,
    length: u64,
    crc: u32,
}

impl Swap {
    /// A file that is not made yet.
    pub(crate) fn new(path: PathBuf) -> Arc<Self> {
        Arc::new(Self { path, file: OnceLock::new(), room: Mutex::default() })
    }

    /// Writes a piece. Nothing is synced: it is of no use after a crash.
    pub(crate) fn put(self: &Arc<Self>, bytes: &[u8]) -> io::Result<Piece> {
        let length = bytes.len() as u64;
        let file = self.file()?;
        let at = self.room.lock().take(length);
        // From here on its room is given back whatever happens.
        let piece = Piece { swap: self.clone(), at, length, crc: crc32fast::hash(bytes) };
        file.write_all_at(bytes, at)?;
        Ok(piece)
    }

    fn file(&self) -> io::Result<&File> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&self.path)?;
        // Two that come here at once have opened the same file.
        Ok(self.file.get_or_init(|| file))
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        if self.file.get().is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Room {
    /// Room of a length: the first that is large enough, or new room at the end.
    fn take(&mut self, length: u64) -> u64 {
        match self.free.iter().find(|(_, free)| **free >= length).map(|(at, free)| (*at, *free)) {
            Some((at, free)) => {
                self.free.remove(&at);
                if free > length {
                    self.free.insert(at + length, free - length);
                }
                at
            }
            None => {
                let at = self.end;
                self.end += length;
                at
            }
        }
    }

    /// Gives room back. True if the end has moved.
    fn give(&mut self, mut at: u64, mut length: u64) -> bool {
        if let Some(next) = self.free.remove(&(at + length)) {
            length += next;
        }
        if let Some((before, free)) = self.free.range(..at).next_back().map(|(before, free)| (*before, *free))
            && before + free == at
        {
            self.free.remove(&before);
            (at, length) = (before, length + free);
        }
        if at + length == self.end {
            self.end = at;
            return true;
        }
        self.free.insert(at, length);
        false
    }
}

impl Piece {
    /// Reads it.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if it is not what was written.
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.length as usize];
        self.swap.file()?.read_exact_at(&mut bytes, self.at)?;
        if crc32fast::hash(&bytes) != self.crc {
            let reason = format!("{} is damaged at byte {}", self.swap.path.display(), self.at);
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(bytes)
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut room = self.swap.room.lock();
        if room.give(self.at, self.length)
            && let Some(file) = self.swap.file.get()
        {
            // If it cannot be shortened it is longer than it needs to be.
            let _ = file.set_len(room.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_back_and_their_room_is_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rest.tmp");
        let swap = Swap::new(path.clone());
        assert!(!path.exists());
        let length = || std::fs::metadata(&path).unwrap().len();
        let pieces: Vec<Piece> = (0..10_u8).map(|i| swap.put(&[i; 100]).unwrap()).collect();
        for (i, piece) in pieces.iter().enumerate() {
            assert_eq!(piece.read().unwrap(), [i as u8; 100]);
        }
        let (mut odd, mut even) = (Vec::new(), Vec::new());
        pieces.into_iter().enumerate().for_each(|(i, p)| if i % 2 == 0 { even.push(p) } else { odd.push(p) });
        drop(even);
        let more: Vec<Piece> = (0..5_u8).map(|i| swap.put(&[100 + i; 90]).unwrap()).collect();
        assert_eq!(length(), 1000, "free room is used before new room");
        for (i, piece) in more.iter().enumerate() {
            assert_eq!(piece.read().unwrap(), [100 + i as u8; 90]);
        }
        for (i, piece) in odd.iter().enumerate() {
            assert_eq!(piece.read().unwrap(), [2 * i as u8 + 1; 100]);
        }
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(b"x", more[0].at + 50).unwrap();
        assert_eq!(more[0].read().unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop((odd, more));
        assert_eq!(length(), 0);
        drop(swap);
        assert!(!path.exists());
    }
}
