//! Backup and restore of the embedded store by its admin.
//!
//! A running server gives a backup to whoever opens the socket in its store's folder, which only its own user may: who can do that can read the
//! store's files too. What goes over it is the backup and nothing else, and it tells by itself whether it is whole.

use std::fs::{Permissions, remove_file, set_permissions};
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use store::{Contents, Embedded, RestoreError, Store, read_backup};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use crate::cli::{BackupArgs, RestoreArgs};
use crate::logging;

/// The socket in the folder of the store.
const SOCKET: &str = "backup.sock";
/// How long a reader may take nothing before its backup is given up: compaction waits for it.
const STALLED: Duration = Duration::from_secs(30);
/// How long to wait when the process is out of file handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no backup, or none was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// No server listens there.
    #[error("no server has its store open in {} (--store-path)", path.display())]
    NoServer {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The backup would go to a terminal, or come from one.
    #[error("{0}")]
    Terminal(&'static str),
    /// The server broke off, or what it gave could not be written.
    #[error("the backup is not whole, do not keep it")]
    Broken(#[source] io::Error),
    /// The store was not made.
    #[error("nothing was restored")]
    Restore(#[from] RestoreError),
    /// A store is there.
    #[error("there is a store in {} already: nothing was restored; --replace moves it aside", .0.display())]
    Occupied(PathBuf),
}

/// Listens in the folder of a store that this process has open.
///
/// # Errors
/// When the folder's file system has no sockets, or the path is too long for one.
pub fn listen(store: &Path) -> io::Result<UnixListener> {
    let path = store.join(SOCKET);
    // The store's lock is ours, so whoever left a socket here has ended.
    match remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Gives backups, one after the other, until cancelled.
pub async fn serve(listener: UnixListener, store: Arc<dyn Store>, cancel: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let given = match accepted {
            Ok((stream, _)) => give(stream, store.as_ref(), &cancel).await,
            Err(_) => {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Err(error) = given {
            tracing::warn!(error = logging::chain(error.as_ref()), "a backup was broken off");
        }
    }
}

async fn give(
    stream: tokio::net::UnixStream,
    store: &dyn Store,
    cancel: &CancellationToken,
) -> Result<(), Box<dyn std::error::Error>> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(STALLED))?;
    let handle = stream.try_clone()?;
    let mut backup = store.backup(None, Box::new(BufWriter::with_capacity(1 << 16, stream)));
    let revision = tokio::select! {
        done = &mut backup => done?,
        () = cancel.cancelled() => {
            handle.shutdown(Shutdown::Both)?;
            backup.await?
        }
    };
    tracing::info!(revision, "backup given");
    Ok(())
}

/// `tenantry backup`.
///
/// # Errors
/// See [`BackupError`]; what was written to standard output is of no use then.
pub fn fetch(args: &BackupArgs) -> Result<(), BackupError> {
    let out = io::stdout().lock();
    if out.is_terminal() {
        return Err(BackupError::Terminal(
            "standard output is a terminal: send the backup to a file (> tenantry.backup)",
        ));
    }
    let contents = copy(&args.store_path, out)?;
    tell("backup", contents);
    Ok(())
}

/// `tenantry restore`.
///
/// # Errors
/// See [`BackupError`].
pub fn restore(args: &RestoreArgs) -> Result<(), BackupError> {
    let input = io::stdin().lock();
    if input.is_terminal() {
        return Err(BackupError::Terminal("standard input is a terminal: give the backup there (< tenantry.backup)"));
    }
    let restored = Embedded::restore(&args.store_path, &mut io::BufReader::new(input), args.replace);
    let contents = restored.map_err(|error| match error {
        RestoreError::NotEmpty(_) => BackupError::Occupied(args.store_path.clone()),
        error => error.into(),
    })?;
    tell("restored", contents);
    Ok(())
}

/// Reads a backup from the server of a store's folder, checks it, and writes it.
fn copy(store: &Path, out: impl Write) -> Result<Contents, BackupError> {
    let no_server = |source| BackupError::NoServer { path: store.to_owned(), source };
    let stream = UnixStream::connect(store.join(SOCKET)).map_err(no_server)?;
    let mut tee = Tee { stream, out };
    let contents = read_backup(&mut tee).map_err(BackupError::Broken)?;
    tee.out.flush().map_err(BackupError::Broken)?;
    Ok(contents)
}

fn tell(what: &str, contents: Contents) {
    let Contents { revision, tenants, records } = contents;
    // Nobody is left to tell if this fails.
    let _ = writeln!(
        io::stderr(),
        "{what}: {tenants} virtual clusters, {records} records, the state at revision {revision}"
    );
}

/// What is read from the stream goes on to `out`.
struct Tee<W> {
    stream: UnixStream,
    out: W,
}

impl<W: Write> Read for Tee<W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.out.write_all(&buffer[..read])?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use apimachinery::tenant::TenantId;
    use store::{CollectionId, Key, Options, Precondition, Write as StoreWrite};
    use tokio::task::spawn_blocking;

    use super::*;

    fn key(name: &str) -> Key {
        let collection = CollectionId { tenant: TenantId::from_bytes([7; 16]), name: "secrets".into() };
        Key { collection, name: name.into() }
    }

    async fn put(store: &dyn Store, name: &str) {
        let write = StoreWrite { key: key(name), value: Some(vec![b'x'; 1000].into()), require: Precondition::None };
        store.commit(vec![write]).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_running_servers_backup_becomes_a_store() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let store: Arc<dyn Store> = Arc::new(Embedded::open(&path, Options::default()).unwrap());
        for i in 0..1000 {
            put(store.as_ref(), &i.to_string()).await;
        }
        let cancel = CancellationToken::new();
        let server = tokio::spawn(serve(listen(&path).unwrap(), Arc::clone(&store), cancel.clone()));
        let mode = std::fs::metadata(path.join(SOCKET)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let from = path.clone();
        let (bytes, contents) = spawn_blocking(move || {
            let mut bytes = Vec::new();
            let contents = copy(&from, &mut bytes).unwrap();
            (bytes, contents)
        })
        .await
        .unwrap();
        assert_eq!((contents.tenants, contents.records, contents.revision), (1, 1000, store.revision()));

        // A reader that takes nothing does not keep the server from ending.
        let idle = UnixStream::connect(path.join(SOCKET)).unwrap();
        cancel.cancel();
        server.await.unwrap();
        drop(idle);
        store.close().await;
        let again = path.clone();
        let refused = spawn_blocking(move || copy(&again, io::sink())).await.unwrap();
        assert!(matches!(refused, Err(BackupError::NoServer { .. })));

        let fresh = tempfile::tempdir().unwrap();
        Embedded::restore(fresh.path(), &mut &bytes[..], false).unwrap();
        let restored = Embedded::open(fresh.path(), Options::default()).unwrap();
        assert!(restored.get(&key("999")).await.unwrap().is_some());
    }
}
