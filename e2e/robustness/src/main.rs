//! `make robustness`: disturbs a server under load for some time and says whether what its clients saw can be.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Parser, ValueEnum as _};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use robustness::broken::Fault;
use robustness::check::check;
use robustness::cluster::{Cluster, Port};
use robustness::history::{Answer, Call, Entry, Told, Watched};
use robustness::play::Run;
use robustness::process::Process;
use robustness::serve::{self, ServeArguments, serve};
use robustness::watch::{Followed, Manner, follow};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Violations that are printed, at most.
const PRINTED: usize = 5;
/// How long all may take to start, and to come to rest at the end.
const REST: Duration = Duration::from_secs(90);
/// At the end, and now and then, nothing is killed for so many seconds: bookmarks come every 10 s.
const CALM: u64 = 13;
/// How often those who are cold are laid to rest while clients take their time.
const REST_EVERY: Duration = Duration::from_millis(20);
const RESTS: usize = 60;
const CLIENTS: usize = 8;
const WATCHERS: [Manner; 7] =
    [Manner::Resumed, Manner::Resumed, Manner::Earlier, Manner::Rare, Manner::Never, Manner::State, Manner::List];
/// Members of etcd, and servers over it.
const MEMBERS: usize = 3;
const SERVERS_ON_ETCD: usize = 2;

/// A model checker over HTTP.
#[derive(Parser)]
enum Command {
    /// Disturb a server under load and check what its clients saw.
    Check(CheckArguments),
    /// Be the server.
    Serve(ServeArguments),
}

#[derive(Args)]
struct CheckArguments {
    /// An etcd program, to be the store; the embedded one if none is named.
    #[arg(long)]
    etcd: Option<PathBuf>,
    /// How long there is load.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// What chance is drawn from; a number of its own each time if there is none.
    #[arg(long)]
    seed: Option<u64>,
    /// What is wrong with the store: whether it is found is a test of the checker.
    #[arg(long, hide = true)]
    broken: Option<Fault>,
    /// For how many seconds at the end nothing is killed.
    #[arg(long, hide = true, default_value_t = CALM)]
    calm: u64,
}

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Check(arguments) => run(&arguments).await,
        Command::Serve(arguments) => serve(arguments).await.map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("failed: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "robustness: {text}");
}

async fn run(arguments: &CheckArguments) -> Result<bool, Failure> {
    let seed = arguments.seed.unwrap_or_else(rand::random);
    say(&format!("{} s of load, --seed {seed}", arguments.seconds));
    let folder = tempfile::tempdir()?;
    let played = play(arguments, StdRng::seed_from_u64(seed), folder.path()).await;
    if !matches!(played, Ok(true)) && arguments.broken.is_none() {
        say(&format!("logs and history are kept in {}", folder.keep().display()));
    }
    played
}

async fn play(arguments: &CheckArguments, mut random: StdRng, folder: &Path) -> Result<bool, Failure> {
    let mut world = timeout(REST, World::start(arguments, folder)).await??;
    let run = Run::new(&world.kubeconfigs).await?;
    let from = timeout(REST, run.revision()).await??;
    let (mut clients, mut watchers) = (JoinSet::new(), JoinSet::new());
    for number in 0..CLIENTS {
        clients.spawn(run.clone().work(number, random.random()));
    }
    for (number, manner) in WATCHERS.into_iter().enumerate() {
        let seed = random.random();
        let followed = follow(run.clone(), number, manner, from, seed);
        watchers.spawn(async move { followed.await.map(|followed| (number, followed)) });
    }
    let end = Instant::now() + Duration::from_secs(arguments.seconds);
    let mut done: BTreeMap<Disturbance, usize> = BTreeMap::new();
    while Instant::now() + Duration::from_secs(arguments.calm) < end {
        let calm = if random.random_bool(0.05) { Duration::from_secs(arguments.calm) } else { Duration::ZERO };
        sleep(calm + Duration::from_millis(random.random_range(200..2500))).await;
        let disturbance = world.choose(&mut random);
        world.disturb(disturbance, &run, &mut random).await?;
        *done.entry(disturbance).or_default() += 1;
    }
    while Instant::now() < end {
        sleep(Duration::from_millis(500)).await;
        world.disturb(Disturbance::Clock, &run, &mut random).await?;
        *done.entry(Disturbance::Clock).or_default() += 1;
    }
    run.stop();
    let mut entries = Vec::new();
    for played in clients.join_all().await {
        entries.extend(played?);
    }
    let (more, last) = timeout(REST, run.last_write()).await??;
    entries.extend(more);
    run.end_at(last);
    let rest = timeout(REST, watchers.join_all()).await;
    let mut followed = rest
        .map_err(|_| format!("not all watchers came to revision {last}"))?
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    followed.sort_by_key(|(number, _)| *number);
    let mut followed: Vec<Followed> = followed.into_iter().map(|(_, followed)| followed).collect();
    for one in &mut followed {
        entries.append(&mut one.entries);
    }
    report(&entries, &followed, &done, folder)
}

/// Judges, and says what was found. True if nothing was.
fn report(
    entries: &[Entry],
    followed: &[Followed],
    done: &BTreeMap<Disturbance, usize>,
    folder: &Path,
) -> Result<bool, Failure> {
    // What the first watcher saw, one watch after the other, is the log.
    let first = &followed[0].watches;
    let mut log = Watched { from: first.first().map_or(0, |first| first.from), ..Watched::default() };
    log.told.extend(first.iter().flat_map(|watch| watch.told.iter().cloned()));
    let watches: Vec<Watched> = followed.iter().flat_map(|one| one.watches.iter().cloned()).collect();
    let violations = check(entries, &log, &watches);

    let count = |is: fn(&Entry) -> bool| entries.iter().filter(|entry| is(entry)).count();
    let told = || watches.iter().flat_map(|watch| &watch.told);
    let bookmarks = told().filter(|(_, told)| matches!(told, Told::Bookmark(_))).count();
    let changes = log.told.iter().filter(|(_, told)| matches!(told, Told::Change { .. })).count();
    say(&format!(
        "{} requests: {} writes acknowledged, {} refused, {} without an answer, {} objects and {} lists read",
        entries.len(),
        count(|e| matches!(e.answer, Answer::Done(_) | Answer::Deleted)),
        count(|e| matches!(e.answer, Answer::Conflict | Answer::Exists | Answer::Absent)
            && !matches!(e.call, Call::Get { .. })),
        count(|e| e.answer == Answer::Lost),
        count(|e| matches!(e.call, Call::Get { .. }) && e.answer != Answer::Lost),
        count(|e| matches!(e.answer, Answer::Listed { .. })),
    ));
    say(&format!(
        "{changes} changes in the log; {} watches told {} events and {bookmarks} bookmarks; {} came back too late",
        watches.len(),
        told().count() - bookmarks,
        followed.iter().map(|one| one.expired).sum::<usize>(),
    ));
    let (torn, rested, panics) = logs(folder)?;
    let done: Vec<String> = done.iter().map(|(disturbance, times)| format!("{times} {disturbance:?}")).collect();
    say(&format!(
        "disturbed by: {}; {torn} times the last write was found torn, {rested} times the virtual cluster left memory",
        done.join(", ")
    ));
    if !panics.is_empty() {
        say(&format!("a server panicked: {panics}"));
        return Ok(false);
    }
    let mut out = std::io::stdout().lock();
    for violation in violations.iter().take(PRINTED) {
        writeln!(out, "VIOLATION: {}\n{}", violation.what, violation.around)?;
    }
    writeln!(out, "robustness: {} violations", violations.len())?;
    if !violations.is_empty() {
        let mut file = std::fs::File::create(folder.join("history"))?;
        let mut sorted: Vec<&Entry> = entries.iter().collect();
        sorted.sort_by_key(|entry| entry.begun);
        for entry in sorted {
            writeln!(file, "{entry}")?;
        }
        for watch in &watches {
            writeln!(file, "{watch:?}")?;
        }
    }
    Ok(violations.is_empty())
}

/// What servers said: how often they dropped a write that was torn, how often the virtual cluster left memory, and panics.
fn logs(folder: &Path) -> Result<(usize, usize, String), Failure> {
    let (mut torn, mut rested, mut panics) = (0, 0, String::new());
    for found in std::fs::read_dir(folder)? {
        let path = found?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("server-")) {
            let text = std::fs::read_to_string(path)?;
            torn += text.matches("dropped a write that was cut off").count();
            rested += text.matches(serve::RESTED).count();
            panics.extend(text.lines().filter(|line| line.contains("panicked")).map(|line| format!("{line}\n")));
        }
    }
    Ok((torn, rested, panics))
}

/// What is done to what runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Disturbance {
    /// `kill -9` of a server, which is started again. On the embedded store the power fails too.
    Kill,
    /// A server stands still for a while.
    Pause,
    /// A server's clock jumps.
    Clock,
    /// The virtual cluster is laid to rest again and again, as soon as there is a moment without requests.
    Rest,
    /// No file of the server, or of a member of etcd, can grow any more. It is killed and started again later.
    FullDisk,
    /// `kill -9` of a member of etcd, which is started again later.
    MemberKill,
    /// A member of etcd stands still for a while.
    MemberPause,
    /// A member of etcd runs, but is cut off from the others for a while.
    MemberCutOff,
}

/// The servers, and what they stand on.
struct World {
    servers: Vec<Process>,
    _ports: Vec<Port>,
    kubeconfigs: Vec<PathBuf>,
    etcd: Option<Cluster>,
    folder: PathBuf,
}

impl World {
    async fn start(arguments: &CheckArguments, folder: &Path) -> Result<Self, Failure> {
        let etcd = match &arguments.etcd {
            Some(program) => Some(Cluster::start(program, folder, MEMBERS).await?),
            None => None,
        };
        let count = if etcd.is_some() { SERVERS_ON_ETCD } else { 1 };
        let folder = folder.to_owned();
        let mut world = Self { servers: Vec::new(), _ports: Vec::new(), kubeconfigs: Vec::new(), etcd, folder };
        for number in 0..count {
            let (folder, port) = (&world.folder, Port::reserve()?);
            let kubeconfig = folder.join(format!("server-{number}.yaml"));
            let mut options = vec!["serve".to_owned(), format!("--listen=127.0.0.1:{}", port.number)];
            options.push(format!("--kubeconfig={}", kubeconfig.display()));
            match &world.etcd {
                None => options.push(format!("--store={}", folder.join("store").display())),
                Some(etcd) => options.extend(etcd.endpoints().into_iter().map(|url| format!("--etcd={url}"))),
            }
            let fault = arguments.broken.and_then(|fault| fault.to_possible_value());
            options.extend(fault.map(|fault| format!("--broken={}", fault.get_name())));
            let log = folder.join(format!("server-{number}.log"));
            let mut server = Process::new(&std::env::current_exe()?, options, log);
            server.start()?;
            while !kubeconfig.exists() {
                if !server.runs() {
                    server.start()?;
                }
                sleep(Duration::from_millis(100)).await;
            }
            world.servers.push(server);
            world._ports.push(port);
            world.kubeconfigs.push(kubeconfig);
        }
        Ok(world)
    }

    fn choose(&self, random: &mut StdRng) -> Disturbance {
        use Disturbance::{Clock, FullDisk, Kill, MemberCutOff, MemberKill, MemberPause, Pause, Rest};
        let all: &[Disturbance] = match self.etcd {
            None => &[Kill, Kill, Kill, Pause, Clock, FullDisk, Rest, Rest],
            Some(_) => &[
                Kill,
                Pause,
                Clock,
                FullDisk,
                Rest,
                Rest,
                MemberKill,
                MemberKill,
                MemberPause,
                MemberCutOff,
                MemberCutOff,
            ],
        };
        all.choose(random).copied().unwrap_or(Kill)
    }

    async fn disturb(&mut self, disturbance: Disturbance, run: &Run, random: &mut StdRng) -> Result<(), Failure> {
        let pause = Duration::from_millis(random.random_range(100..3000));
        let server = random.random_range(0..self.servers.len());
        let member = match &self.etcd {
            // Half of the time the one that leads.
            Some(etcd) if random.random() => etcd.leader().await.unwrap_or(0),
            _ => random.random_range(0..MEMBERS),
        };
        match (disturbance, &mut self.etcd) {
            (Disturbance::Clock, _) => {
                let behind = random.random_range(0..serve::BEHIND.as_secs());
                self.servers[server].tell(&format!("-{behind}"));
            }
            (Disturbance::Rest, _) => {
                run.slow(true);
                for _ in 0..RESTS {
                    let place = run.give_up();
                    self.servers.iter_mut().for_each(|server| server.tell(&format!("rest {place}")));
                    sleep(REST_EVERY).await;
                }
                run.slow(false);
            }
            (Disturbance::Pause, _) => {
                self.servers[server].pause(true)?;
                sleep(pause).await;
                self.servers[server].pause(false)?;
            }
            (Disturbance::MemberKill, Some(etcd)) => {
                etcd.members[member].kill();
                sleep(pause).await;
                etcd.members[member].start()?;
            }
            (Disturbance::MemberPause, Some(etcd)) => {
                etcd.members[member].pause(true)?;
                sleep(pause).await;
                etcd.members[member].pause(false)?;
            }
            (Disturbance::MemberCutOff, Some(etcd)) => {
                etcd.cut_off(Some(member));
                sleep(2 * pause).await;
                etcd.cut_off(None);
            }
            (Disturbance::FullDisk, Some(etcd)) => {
                etcd.members[member].fill_disk(random.random_range(4096..1 << 20))?;
                sleep(pause).await;
                etcd.members[member].start()?;
            }
            (Disturbance::FullDisk, None) => {
                self.servers[server].fill_disk(random.random_range(4096..512 << 10))?;
                sleep(pause).await;
                self.servers[server].start()?;
            }
            (Disturbance::Kill | Disturbance::MemberKill | Disturbance::MemberPause | Disturbance::MemberCutOff, _) => {
                self.servers[server].start()?;
            }
        }
        self.revive().await
    }

    /// A server that could not have its store when it was started has ended: it is started again, for as long as it may take.
    async fn revive(&mut self) -> Result<(), Failure> {
        sleep(Duration::from_millis(100)).await;
        for (number, server) in self.servers.iter_mut().enumerate() {
            if !server.runs() {
                let log = std::fs::read_to_string(self.folder.join(format!("server-{number}.log")))?;
                if log.contains("damaged") || log.contains("panicked") {
                    return Err(format!("server {number} does not start any more:\n{log}").into());
                }
                server.start()?;
            }
        }
        Ok(())
    }
}
