//! One reader draining one slot, as a process of its own.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lockstep_process::config::{Config, ConfigArgs, KafkaConfig};
use lockstep_schemas::position::{Lsn, Position};
use lockstep_schemas::progress::Progress;
use lockstep_schemas::tail::{Begin, Tail};
use lockstep_schemas::topics;
use rdkafka::Message as _;
use rdkafka::message::OwnedMessage;
use tokio::process::{Child, Command};

use super::workload::{POLICY, PUBLICATION};
use crate::bench::{pg_recvlogical, usage};
use crate::demo::servers::Servers;

const DRAIN_WAIT_MAX: Duration = Duration::from_secs(120);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// The reference: it writes what it receives to a file that keeps nothing.
    PgRecvlogical,
    /// Our transport and decoder.
    Decoded,
    /// Ingest as it is, each record acknowledged by Kafka.
    Published,
}

impl Reader {
    pub const ALL: [Reader; 3] = [Reader::PgRecvlogical, Reader::Decoded, Reader::Published];

    pub fn name(self) -> &'static str {
        match self {
            Reader::PgRecvlogical => "pg_recvlogical",
            Reader::Decoded => "read and decoded",
            Reader::Published => "Kafka acked",
        }
    }

    pub fn key(self) -> &'static str {
        match self {
            Reader::PgRecvlogical => "pg_recvlogical",
            Reader::Decoded => "decoded",
            Reader::Published => "published",
        }
    }
}

/// What it took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Drained {
    /// From its start to its end, connecting included.
    pub seconds: f64,
    pub cpu_seconds: f64,
    pub rss_mb_max: f64,
    /// Where the reader says.
    pub rows: Option<u64>,
}

/// Starts readers on one stack.
pub(super) struct Drains {
    executable: PathBuf,
    database_url: String,
    environment: Vec<(String, String)>,
    folder: PathBuf,
    kafka: KafkaConfig,
}

impl Drains {
    pub fn new(servers: &Servers) -> Result<Self> {
        let args = ConfigArgs { kafka_brokers: Some(servers.kafka.clone()), ..ConfigArgs::default() };
        let kafka = Config::load(&args)?.kafka()?.clone();
        std::fs::write(servers.folder.join("bench-policy.toml"), POLICY).context("write the policy")?;
        Ok(Drains {
            executable: servers.lockstep()?.executable,
            database_url: servers.database_url.clone(),
            environment: servers.environment.clone(),
            folder: servers.folder.clone(),
            kafka,
        })
    }

    pub async fn run(&self, reader: Reader, slot: &str, end: &str) -> Result<Drained> {
        let before = if reader == Reader::Published { self.newest_epoch().await? } else { None };
        let cpu_before = usage::children_cpu_seconds()?;
        let began = Instant::now();
        let mut child = match reader {
            Reader::PgRecvlogical => pg_recvlogical::command(&self.database_url, slot, PUBLICATION, end),
            Reader::Decoded => self.lockstep(slot, &["bench", "count", end])?,
            Reader::Published => self.lockstep(slot, &["run", "--role", "ingest"])?,
        }
        .spawn()
        .context("start the reader")?;
        let watched =
            tokio::time::timeout(DRAIN_WAIT_MAX, self.watch(reader, &mut child, (before, end.parse()?), began)).await;
        child.start_kill()?;
        let output = child.wait_with_output().await?;
        let said = || format!("{} says: {}", reader.name(), String::from_utf8_lossy(&output.stderr));
        let (seconds, rss_mb_max) = watched.context("it takes too long").flatten().with_context(said)?;
        ensure!(output.status.success(), "{}", said());
        let rows = String::from_utf8_lossy(&output.stdout).trim().parse().ok();
        let cpu_seconds = usage::children_cpu_seconds()? - cpu_before;
        Ok(Drained { seconds, cpu_seconds, rss_mb_max, rows })
    }

    /// Starts ingest on a slot of its own, and returns once it streams.
    pub async fn start(&self, slot: &str) -> Result<Child> {
        let before = self.newest_epoch().await?;
        let child = self.lockstep(slot, &["run", "--role", "ingest"])?.spawn().context("start ingest")?;
        tokio::time::timeout(DRAIN_WAIT_MAX, self.published(before, Lsn(0))).await.context("it takes too long")??;
        Ok(child)
    }

    /// Ends it in order.
    pub async fn stop(&self, child: Child) -> Result<()> {
        terminate(child.id().context("ingest has ended at once")?)?;
        let output = child.wait_with_output().await?;
        ensure!(output.status.success(), "ingest says: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn lockstep(&self, slot: &str, args: &[&str]) -> Result<Command> {
        let config = self.folder.join(format!("{slot}.toml"));
        let text = format!("[database]\nslot = \"{slot}\"\npublication = \"{PUBLICATION}\"\n");
        std::fs::write(&config, text).context("write a configuration")?;
        let mut command = Command::new(&self.executable);
        command.args(args).envs(self.environment.clone()).env("LOCKSTEP_CONFIG", config);
        command.env("LOCKSTEP_POLICY", self.folder.join("bench-policy.toml")).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Ok(command)
    }

    /// Waits until the reader is through, and ends it where it does not end by itself.
    async fn watch(
        &self,
        reader: Reader,
        child: &mut Child,
        (before, end): (Option<u16>, Lsn),
        began: Instant,
    ) -> Result<(f64, f64)> {
        let pid = child.id().context("the reader has ended at once")?;
        let (mut rss, mut asked) = (0.0_f64, false);
        let published = async {
            if reader == Reader::Published { self.published(before, end).await } else { std::future::pending().await }
        };
        tokio::pin!(published);
        let mut seconds = None;
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        loop {
            tokio::select! {
                status = child.wait() => {
                    let _ = status?;
                    return Ok((seconds.unwrap_or_else(|| began.elapsed().as_secs_f64()), rss));
                }
                done = &mut published, if !asked => {
                    done?;
                    (seconds, asked) = (Some(began.elapsed().as_secs_f64()), true);
                    terminate(pid)?;
                }
                _ = look.tick() => rss = rss.max(usage::rss_mb_max(pid).unwrap_or(0.0)),
            }
        }
    }

    /// Returns once ingest says that everything before the end is in Kafka. Each slot is an epoch of its own.
    async fn published(&self, before: Option<u16>, end: Lsn) -> Result<()> {
        let mut tail = loop {
            match Tail::open(&self.kafka, "bench", topics::PROGRESS, Begin::Newest).await {
                Ok(tail) => break tail,
                Err(_) => tokio::time::sleep(LOOK_INTERVAL).await,
            }
        };
        loop {
            let position = position(&tail.next().await?)?;
            if Some(position.epoch) != before && position.lsn >= end {
                return Ok(());
            }
        }
    }

    /// That of the newest progress record; `None` before the first run.
    async fn newest_epoch(&self) -> Result<Option<u16>> {
        let Ok(mut tail) = Tail::open(&self.kafka, "bench", topics::PROGRESS, Begin::Newest).await else {
            return Ok(None);
        };
        let newest = tail.next_before_end().await?;
        newest.map(|message| position(&message).map(|position| position.epoch)).transpose()
    }
}

fn position(message: &OwnedMessage) -> Result<Position> {
    Ok(Progress::from_json(message.payload().unwrap_or_default()).context("a progress record")?.position)
}

#[expect(unsafe_code, reason = "kill(2)")]
fn terminate(pid: u32) -> Result<()> {
    // SAFETY: it sends a signal to a child of ours that has not been waited for.
    ensure!(unsafe { libc::kill(pid as libc::pid_t, libc::SIGTERM) } == 0, "the reader has gone");
    Ok(())
}
