//! Backup and restore by the admin of a server.
//!
//! A running server takes requests from whoever opens the socket in its store's folder, which only its own user may: who can do that can read the
//! store's files too. A request is a line of JSON. A backup follows it, one way or the other, and tells by itself whether it is whole; a
//! restore is answered with a line of JSON.

use std::fs::{File, Permissions, create_dir_all, remove_file, set_permissions};
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apimachinery::tenant::TenantId;
use serde::{Deserialize, Serialize};
use store::{Contents, Embedded, RestoreError, Store, read_backup, read_tenant};
use tokio::net::UnixListener;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::cli::{BackupArgs, RestoreArgs};
use crate::restore::{PickError, Restorer, Told, Wanted, pick};

/// The socket in the folder of the store.
const SOCKET: &str = "backup.sock";
/// The longest request, in bytes.
const REQUEST: u64 = 64 << 10;
/// How many claims are told of by name.
const CLAIMS: usize = 50;
/// How long a client may take or give nothing before it is given up: compaction and other clients wait for it.
const STALLED: Duration = Duration::from_secs(30);
/// How long to wait when the process is out of file handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whatever an admin or the log is told.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What is asked of a server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Request {
    /// A backup of all.
    Backup,
    /// One virtual cluster is restored from the backup that follows.
    Restore(Wanted),
}

/// How a restore ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Answer {
    Done(Told),
    Refused(String),
}

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
    /// The file cannot be read.
    #[error("cannot read {} (--from)", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no such virtual cluster in the backup.
    #[error("--virtual-cluster")]
    Pick(#[from] PickError),
    /// The server broke off.
    #[error("the server ended or broke off: look at the virtual cluster, it is as it was or restored")]
    Unanswered(#[source] io::Error),
    /// The server said why not.
    #[error("{0}")]
    Refused(String),
    /// A store is there.
    #[error("there is a store in {} already: nothing was restored; --replace moves it aside", .0.display())]
    Occupied(PathBuf),
}

/// Listens in the folder of a store that this process has open.
///
/// # Errors
/// When the folder's file system has no sockets, or the path is too long for one.
pub fn listen(store: &Path) -> io::Result<UnixListener> {
    // With etcd as the store nobody else has made it.
    create_dir_all(store)?;
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

/// Does what is asked, one after the other, until cancelled.
pub(crate) async fn serve(
    listener: UnixListener,
    store: Arc<dyn Store>,
    restorer: Restorer,
    cancel: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let done = match accepted {
            Ok((stream, _)) => answer(stream, store.as_ref(), &restorer, &cancel).await,
            Err(_) => {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Err(error) = done {
            tracing::warn!(error = apimachinery::error::chain(error.as_ref()), "a backup or restore was broken off");
        }
    }
}

async fn answer(
    stream: tokio::net::UnixStream,
    store: &dyn Store,
    restorer: &Restorer,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(STALLED))?;
    stream.set_read_timeout(Some(STALLED))?;
    let handle = stream.try_clone()?;
    let work = async {
        let mut reader = BufReader::with_capacity(1 << 16, stream.try_clone()?);
        let (request, reader) = spawn_blocking(move || {
            let mut line = Vec::new();
            reader.by_ref().take(REQUEST).read_until(b'\n', &mut line)?;
            Ok::<_, io::Error>((serde_json::from_slice(&line)?, reader))
        })
        .await??;
        match request {
            Request::Backup => {
                let revision = store.backup(None, Box::new(BufWriter::with_capacity(1 << 16, stream))).await?;
                tracing::info!(revision, "backup given");
            }
            Request::Restore(wanted) => {
                let answer = match restore_one(restorer, &wanted, reader).await {
                    Ok(told) => Answer::Done(told),
                    Err(error) => {
                        let why = apimachinery::error::chain(error.as_ref());
                        tracing::warn!(into = ?wanted.into, error = why, "a virtual cluster was not restored");
                        Answer::Refused(why)
                    }
                };
                let mut line = serde_json::to_vec(&answer)?;
                line.push(b'\n');
                spawn_blocking(move || (&stream).write_all(&line)).await??;
            }
        }
        Ok::<_, Failure>(())
    };
    let mut work = std::pin::pin!(work);
    tokio::select! {
        done = &mut work => done,
        () = cancel.cancelled() => {
            // Whoever is at work on the stream finds it closed. A restore that has begun is completed, now or at the next start.
            handle.shutdown(Shutdown::Both)?;
            work.await
        }
    }
}

async fn restore_one(
    restorer: &Restorer,
    wanted: &Wanted,
    mut reader: impl Read + Send + 'static,
) -> Result<Told, Failure> {
    let source: TenantId = wanted.source.parse()?;
    let records = spawn_blocking(move || read_tenant(&mut reader, source)).await??;
    Ok(restorer.restore(wanted, source, records).await?)
}

/// `tenantry backup`.
///
/// # Errors
/// See [`BackupError`]; what was written to standard output is of no use then.
pub fn fetch(args: &BackupArgs) -> Result<(), BackupError> {
    let mut out = io::stdout().lock();
    if out.is_terminal() {
        return Err(BackupError::Terminal(
            "standard output is a terminal: send the backup to a file (> tenantry.backup)",
        ));
    }
    let contents = match &args.virtual_cluster {
        None => copy(&args.store_path, out)?,
        Some(name) => {
            let (_, part, contents) = pick(name, &mut ask(&args.store_path, &Request::Backup)?)?;
            out.write_all(&part).and_then(|()| out.flush()).map_err(BackupError::Broken)?;
            contents
        }
    };
    tell("backup", contents);
    Ok(())
}

/// `tenantry restore`.
///
/// # Errors
/// See [`BackupError`].
pub fn restore(args: &RestoreArgs) -> Result<(), BackupError> {
    let mut input: Box<dyn Read> = match &args.from {
        Some(path) => {
            let unread = |source| BackupError::File { path: path.clone(), source };
            Box::new(BufReader::with_capacity(1 << 16, File::open(path).map_err(unread)?))
        }
        None if io::stdin().is_terminal() => {
            return Err(BackupError::Terminal(
                "standard input is a terminal: give the backup there (< tenantry.backup) or name its file (--from)",
            ));
        }
        None => Box::new(BufReader::with_capacity(1 << 16, io::stdin())),
    };
    if let Some(name) = &args.virtual_cluster {
        return send_one(args, name, &mut *input);
    }
    let restored = Embedded::restore(&args.store_path, &mut *input, args.replace);
    let contents = restored.map_err(|error| match error {
        RestoreError::NotEmpty(_) => BackupError::Occupied(args.store_path.clone()),
        error => error.into(),
    })?;
    tell("restored", contents);
    Ok(())
}

/// Has the server restore one virtual cluster.
fn send_one(args: &RestoreArgs, name: &str, input: &mut dyn Read) -> Result<(), BackupError> {
    let (found, part, _) = pick(name, input)?;
    let into = match args.r#as.as_deref() {
        None => (found.namespace.clone(), found.name.clone()),
        Some(name) => match name.split_once('/') {
            Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
            None => (found.namespace.clone(), name.to_owned()),
        },
    };
    let wanted = Wanted {
        source: found.id.to_string(),
        into: into.clone(),
        replace: args.replace,
        without_pods: args.without_pods,
    };
    let mut stream = ask(&args.store_path, &Request::Restore(wanted))?;
    // A server that refuses it early says why, so what it did not take is no error yet.
    let sent = stream.write_all(&part);
    let mut line = String::new();
    let answered = BufReader::new(stream).read_line(&mut line).and_then(|_| Ok(serde_json::from_str(&line)?));
    match (answered, sent) {
        (Ok(Answer::Done(told)), _) => {
            tell_one(&format!("{}/{}", found.namespace, found.name), &format!("{}/{}", into.0, into.1), &told);
            Ok(())
        }
        (Ok(Answer::Refused(why)), _) => Err(BackupError::Refused(why)),
        (Err(_), Err(error)) | (Err(error), Ok(())) => Err(BackupError::Unanswered(error)),
    }
}

/// Sends the server of a store's folder a request.
fn ask(store: &Path, request: &Request) -> Result<UnixStream, BackupError> {
    let no_server = |source| BackupError::NoServer { path: store.to_owned(), source };
    let mut stream = UnixStream::connect(store.join(SOCKET)).map_err(no_server)?;
    let mut line = serde_json::to_vec(request).map_err(|error| BackupError::Broken(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(no_server)?;
    Ok(stream)
}

/// Reads a backup from the server of a store's folder, checks it, and writes it.
fn copy(store: &Path, out: impl Write) -> Result<Contents, BackupError> {
    let mut tee = Tee { stream: ask(store, &Request::Backup)?, out };
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

fn tell_one(from: &str, into: &str, told: &Told) {
    let Told { objects, written, pods, services, claims } = told;
    let mut text = format!(
        "restored: {from} as {into}: {objects} objects, {written} of them written, replaced or removed\n\
         begin anew: {pods} pods; get addresses anew: {services} services; get new, EMPTY volumes: {} claims\n",
        claims.len()
    );
    for claim in claims.iter().take(CLAIMS) {
        text.push_str(&format!("  {claim}\n"));
    }
    if claims.len() > CLAIMS {
        text.push_str(&format!("  and {} more\n", claims.len() - CLAIMS));
    }
    // Nobody is left to tell if this fails.
    let _ = io::stderr().write_all(text.as_bytes());
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
    use apiserver_shim::clock::SystemClock;
    use apiserver_shim::tenants::Tenants;
    use store::{CollectionId, Key, Options, Precondition, Write as StoreWrite};

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
        let tenants = Tenants::load(Arc::clone(&store), Arc::new(SystemClock)).await.unwrap();
        let restorer = Restorer::new(tenants, None);
        let server = tokio::spawn(serve(listen(&path).unwrap(), Arc::clone(&store), restorer, cancel.clone()));
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

        // What is no backup is refused with the reason, as long as it may be.
        let wanted = Wanted {
            source: TenantId::from_bytes([7; 16]).to_string(),
            into: ("team-a".into(), "shop".into()),
            replace: false,
            without_pods: false,
        };
        let from = path.clone();
        let answer = spawn_blocking(move || {
            let mut stream = ask(&from, &Request::Restore(wanted)).unwrap();
            let _ = stream.write_all(&vec![0; 1 << 20]);
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            line
        });
        assert!(answer.await.unwrap().contains("this is no whole backup"));

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
