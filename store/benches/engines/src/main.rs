//! Which engine goes below the embedded store: the candidates under the store's workload, one process each.
//!
//! `engines [PUTS] [FOLDER] [CANDIDATE..]`: 1 KB values, random keys, 256 writers that each wait for their put to be
//! durable before they send the next; one thread takes all that wait and makes them durable at once. The candidates
//! are measured bare. `store` is the whole embedded store with its own log below, which also checks preconditions,
//! keeps all records and the change log in memory and serves reads: what its log must win in spite of.

mod candidates;
#[path = "../../workload.rs"]
mod workload;

use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apimachinery::tenant::TenantId;
use candidates::{Engine, Fjall, GrowingLog, Lmdb, Log, Redb};
use store::{CollectionId, Embedded, Key, Options, Precondition, Store, Write};
use tokio::sync::{mpsc, oneshot};
use workload::{Failure, Put, Run, VALUE, WRITERS, run};

const CANDIDATES: [&str; 6] = ["store", "log", "growing-log", "redb", "fjall", "lmdb"];

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [one, name, puts, folder] = arguments.as_slice()
        && one == "one"
    {
        return measure(name, puts.parse()?, Path::new(folder));
    }
    let puts = arguments.first().map_or("200000", String::as_str);
    let folder = Path::new(arguments.get(1).map_or(".", String::as_str));
    let names: Vec<&str> = arguments.iter().skip(2).map(String::as_str).collect();
    println!("{puts} puts of {VALUE} bytes, random keys, {WRITERS} writers");
    println!(
        "{:<12} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9}",
        "engine", "puts/s", "p50 ms", "p99 ms", "max ms", "cpu s", "open s", "rss MB", "disk MB", "trim s", "then MB"
    );
    for name in if names.is_empty() { &CANDIDATES } else { names.as_slice() } {
        let folder = folder.join(format!("engines-{name}"));
        std::fs::create_dir_all(&folder)?;
        let program = std::env::current_exe()?;
        let status = Command::new(program).args(["one", name, puts]).arg(&folder).status()?;
        std::fs::remove_dir_all(&folder)?;
        if !status.success() {
            return Err(format!("{name}: {status}").into());
        }
    }
    Ok(())
}

#[tokio::main(worker_threads = 2)]
async fn measure(name: &str, puts: u64, folder: &Path) -> Result<(), Failure> {
    match name {
        "store" => embedded(puts, folder).await,
        "log" => bare::<Log>(name, puts, folder).await,
        "growing-log" => bare::<GrowingLog>(name, puts, folder).await,
        "redb" => bare::<Redb>(name, puts, folder).await,
        "fjall" => bare::<Fjall>(name, puts, folder).await,
        "lmdb" => bare::<Lmdb>(name, puts, folder).await,
        _ => Err(format!("no candidate {name}, there are {CANDIDATES:?}").into()),
    }
}

async fn embedded(puts: u64, folder: &Path) -> Result<(), Failure> {
    let collection = CollectionId { tenant: TenantId::from_bytes([1; 16]), name: "records".into() };
    let options = || Options { checkpoint_bytes: 0, ..Options::default() };
    let store = Arc::new(Embedded::open(folder, options())?);
    let run = run(puts, {
        let (store, collection) = (store.clone(), collection.clone());
        move |(key, value)| {
            let (store, collection) = (store.clone(), collection.clone());
            async move {
                let key = Key { collection, name: String::from_utf8_lossy(&key).into() };
                store.commit(vec![Write { key, value: Some(value.into()), require: Precondition::None }]).await?;
                Ok(())
            }
        }
    })
    .await?;
    let rss = resident()?;
    let disk = size(folder)?;
    store.close().await;
    drop(store);
    let start = Instant::now();
    let store = Embedded::open(folder, options())?;
    let opened = start.elapsed();
    if store.count(&collection).await? as u64 != puts {
        return Err("records are missing".into());
    }
    let start = Instant::now();
    store.compact(store.revision()).await?;
    report("store", &run, opened, rss, disk, start.elapsed(), size(folder)?);
    Ok(())
}

async fn bare<E: Engine + 'static>(name: &str, puts: u64, folder: &Path) -> Result<(), Failure> {
    let mut engine = E::open(folder)?;
    let (sender, mut receiver) = mpsc::channel::<(Put, oneshot::Sender<()>)>(4096);
    let writer = std::thread::spawn(move || -> Result<E, String> {
        let mut taken = Vec::new();
        while receiver.blocking_recv_many(&mut taken, 4096) > 0 {
            let (batch, replies): (Vec<_>, Vec<_>) = taken.drain(..).unzip();
            engine.append(batch).map_err(|e| e.to_string())?;
            for reply in replies {
                let _ = reply.send(());
            }
        }
        Ok(engine)
    });
    let run = run(puts, move |put| {
        let sender = sender.clone();
        async move {
            let (reply, answer) = oneshot::channel();
            sender.send((put, reply)).await?;
            Ok(answer.await?)
        }
    })
    .await?;
    let engine = writer.join().map_err(|_| "the writer panicked")??;
    let rss = resident()?;
    let disk = size(folder)?;
    drop(engine);
    let start = Instant::now();
    let mut engine = E::open(folder)?;
    if engine.load()? < puts * VALUE as u64 {
        return Err("records are missing".into());
    }
    let opened = start.elapsed();
    let start = Instant::now();
    engine.checkpoint()?;
    report(name, &run, opened, rss, disk, start.elapsed(), size(folder)?);
    Ok(())
}

fn report(name: &str, run: &Run, opened: Duration, rss: u64, disk: u64, trim: Duration, then: u64) {
    println!(
        "{name:<12} {:>9.0} {:>8.2} {:>8.2} {:>8.0} {:>8.1} {:>8.2} {:>9} {:>9} {:>9.2} {:>9}",
        run.rate(),
        run.quantile(0.5),
        run.quantile(0.99),
        run.quantile(1.0),
        run.cpu.as_secs_f64(),
        opened.as_secs_f64(),
        rss >> 20,
        disk >> 20,
        trim.as_secs_f64(),
        then >> 20,
    );
}

/// Resident memory of this process that no file stands behind, in bytes.
fn resident() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:")).unwrap_or_default();
    Ok(line.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0_u64) << 10)
}

fn size(folder: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { size(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}
