//! The workload that engines and the store are measured with: 256 writers, each waits for its put to be durable before
//! it sends the next; random keys, 1 KB values that do not compress.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Anything that ends a measurement.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// A key and its value.
pub(crate) type Put = (Vec<u8>, Vec<u8>);

/// How many write at once.
pub(crate) const WRITERS: u64 = 256;
/// Bytes of a value.
pub(crate) const VALUE: usize = 1024;

/// What was measured of all puts.
pub(crate) struct Run {
    /// How many there were.
    pub(crate) puts: u64,
    /// How long they took together.
    pub(crate) took: Duration,
    /// Processor time of this process.
    pub(crate) cpu: Duration,
    /// Microseconds of each put, sorted.
    pub(crate) latencies: Vec<u32>,
}

impl Run {
    /// Milliseconds below which this part of all puts stayed.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1) as f64;
        self.latencies.get((last * part) as usize).map_or(0.0, |micros| f64::from(*micros) / 1e3)
    }

    /// Puts in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.puts as f64 / self.took.as_secs_f64()
    }
}

/// Does all puts.
///
/// # Errors
/// The first that a put gives.
pub(crate) async fn run<F, A>(puts: u64, put: F) -> Result<Run, Failure>
where
    F: Fn(Put) -> A + Clone + Send + 'static,
    A: Future<Output = Result<(), Failure>> + Send,
{
    let next = Arc::new(AtomicU64::new(0));
    let cpu = cpu()?;
    let start = Instant::now();
    let tasks: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (next, put) = (next.clone(), put.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= puts {
                        return Ok::<_, Failure>(latencies);
                    }
                    let one = random(i);
                    let start = Instant::now();
                    put(one).await?;
                    latencies.push(start.elapsed().as_micros() as u32);
                }
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    let took = start.elapsed();
    latencies.sort_unstable();
    Ok(Run { puts, took, cpu: self::cpu()? - cpu, latencies })
}

/// Does puts one at a time, each to one of the keys of the first so many puts.
///
/// # Errors
/// The first that a put gives.
#[allow(dead_code, reason = "the comparison of engines does without")]
pub(crate) async fn run_alone<F, A>(keys: u64, puts: u64, put: F) -> Result<Run, Failure>
where
    F: Fn(Put) -> A,
    A: Future<Output = Result<(), Failure>>,
{
    let (mut latencies, cpu, start) = (Vec::new(), cpu()?, Instant::now());
    for i in 0..puts {
        let (key, _) = random(i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % keys);
        let (_, value) = random(keys + i);
        let start = Instant::now();
        put((key, value)).await?;
        latencies.push(start.elapsed().as_micros() as u32);
    }
    latencies.sort_unstable();
    Ok(Run { puts, took: start.elapsed(), cpu: self::cpu()? - cpu, latencies })
}

/// The i-th put: a key that is spread over all there are and met once, bytes that do not compress.
fn random(i: u64) -> Put {
    let mix = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let key = format!("default/{:016x}", mix(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let mut value = Vec::with_capacity(VALUE);
    let mut state = mix(i + 1);
    while value.len() < VALUE {
        state = mix(state.wrapping_add(0x9e37_79b9_7f4a_7c15));
        value.extend_from_slice(&state.to_le_bytes());
    }
    (key.into_bytes(), value)
}

/// Processor time of this process.
///
/// # Errors
/// When `/proc` cannot be read.
pub(crate) fn cpu() -> io::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = behind.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}
