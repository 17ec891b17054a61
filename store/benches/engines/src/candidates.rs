//! The candidates behind one trait.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use fjall::{KeyspaceCreateOptions, PersistMode};
use heed::types::Bytes;
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use crate::workload::{Failure, Put};

/// What the store needs of what lies below it.
pub trait Engine: Send + Sized {
    fn open(path: &Path) -> Result<Self, Failure>;
    /// Durable when it returns.
    fn append(&mut self, batch: Vec<Put>) -> Result<(), Failure>;
    /// Reads all there is, as opening a store does. Gives how many bytes.
    fn load(&mut self) -> Result<u64, Failure>;
    /// Gives back what superseded values take, as far as the engine does that on demand.
    fn checkpoint(&mut self) -> Result<(), Failure>;
}

pub struct Redb(redb::Database);

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");

impl Engine for Redb {
    fn open(path: &Path) -> Result<Self, Failure> {
        Ok(Self(redb::Database::create(path.join("redb"))?))
    }

    fn append(&mut self, batch: Vec<Put>) -> Result<(), Failure> {
        let transaction = self.0.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in &batch {
                table.insert(key.as_slice(), value.as_slice())?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn load(&mut self) -> Result<u64, Failure> {
        let mut bytes = 0;
        for entry in self.0.begin_read()?.open_table(TABLE)?.iter()? {
            let (key, value) = entry?;
            bytes += (key.value().to_vec().len() + value.value().to_vec().len()) as u64;
        }
        Ok(bytes)
    }

    fn checkpoint(&mut self) -> Result<(), Failure> {
        self.0.compact()?;
        Ok(())
    }
}

pub struct Fjall(fjall::Database, fjall::Keyspace);

impl Engine for Fjall {
    fn open(path: &Path) -> Result<Self, Failure> {
        let database = fjall::Database::builder(path).open()?;
        let records = database.keyspace("records", KeyspaceCreateOptions::default)?;
        Ok(Self(database, records))
    }

    fn append(&mut self, batch: Vec<Put>) -> Result<(), Failure> {
        let mut write = self.0.batch().durability(Some(PersistMode::SyncData));
        for (key, value) in batch {
            write.insert(&self.1, key, value);
        }
        Ok(write.commit()?)
    }

    fn load(&mut self) -> Result<u64, Failure> {
        let mut bytes = 0;
        for entry in self.1.iter() {
            let (key, value) = entry.into_inner()?;
            bytes += (key.to_vec().len() + value.to_vec().len()) as u64;
        }
        Ok(bytes)
    }

    fn checkpoint(&mut self) -> Result<(), Failure> {
        Ok(self.1.major_compact()?)
    }
}

pub struct Lmdb(heed::Env, heed::Database<Bytes, Bytes>, PathBuf);

impl Engine for Lmdb {
    fn open(path: &Path) -> Result<Self, Failure> {
        // SAFETY: no one else opens or changes the files of this folder.
        let env = unsafe { heed::EnvOpenOptions::new().map_size(32 << 30).open(path)? };
        let mut transaction = env.write_txn()?;
        let database = env.create_database(&mut transaction, None)?;
        transaction.commit()?;
        Ok(Self(env, database, path.join("copy")))
    }

    fn append(&mut self, batch: Vec<Put>) -> Result<(), Failure> {
        let mut transaction = self.0.write_txn()?;
        for (key, value) in &batch {
            self.1.put(&mut transaction, key, value)?;
        }
        Ok(transaction.commit()?)
    }

    fn load(&mut self) -> Result<u64, Failure> {
        let transaction = self.0.read_txn()?;
        let mut bytes = 0;
        for entry in self.1.iter(&transaction)? {
            let (key, value) = entry?;
            bytes += (key.to_vec().len() + value.to_vec().len()) as u64;
        }
        Ok(bytes)
    }

    fn checkpoint(&mut self) -> Result<(), Failure> {
        let mut file = File::create(&self.2)?;
        self.0.copy_to_file(&mut file, heed::CompactionOption::Enabled)?;
        file.sync_all()?;
        Ok(())
    }
}

/// The store's log: segments filled with zeros ahead, checksums; opening builds the state in memory.
pub struct Log(store::BareLog);

impl Engine for Log {
    fn open(path: &Path) -> Result<Self, Failure> {
        Ok(Self(store::BareLog::open(path)?))
    }

    fn append(&mut self, batch: Vec<Put>) -> Result<(), Failure> {
        Ok(self.0.append(batch)?)
    }

    fn load(&mut self) -> Result<u64, Failure> {
        Ok(self.0.bytes())
    }

    fn checkpoint(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// A log as one writes it first: a file that grows with each batch.
pub struct GrowingLog(File, PathBuf);

impl Engine for GrowingLog {
    fn open(path: &Path) -> Result<Self, Failure> {
        let path = path.join("log");
        Ok(Self(OpenOptions::new().create(true).append(true).open(&path)?, path))
    }

    fn append(&mut self, batch: Vec<Put>) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        for (key, value) in &batch {
            bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(value);
        }
        self.0.write_all(&bytes)?;
        Ok(self.0.sync_data()?)
    }

    fn load(&mut self) -> Result<u64, Failure> {
        Ok(std::fs::read(&self.1)?.len() as u64)
    }

    fn checkpoint(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}
