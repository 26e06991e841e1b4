//! The replication connection. Behind this file stands a replication crate, and could stand a transport of our own.

use std::time::Duration;

use bytes::Bytes;
use lockstep_process::Failure;
use lockstep_process::config::DatabaseConfig;
use lockstep_schemas::position::Lsn;
use lockstep_source::database::SESSION;
use lockstep_source::epoch::Epoch;
use percent_encoding::percent_decode_str;
use pgwire_replication::{PgWireError, ReplicationClient, ReplicationConfig, ReplicationEvent, SslMode, TlsConfig};
use url::Url;

/// How often the server learns what it may forget.
const FEEDBACK_INTERVAL: Duration = Duration::from_secs(1);
/// The server asks for a sign of life after half of this, which also tells us that it is idle and how far it is.
const SENDER_TIMEOUT: &str = "2s";
/// Microseconds from 1970 to PostgreSQL's epoch.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// What the log says next. Times are microseconds since 1970.
#[derive(Debug)]
pub(crate) enum LogEvent {
    Begin {
        commit: Lsn,
        xid: u32,
        committed_at: i64,
    },
    /// A message inside the transaction, for [`crate::pgoutput`].
    Data {
        lsn: Lsn,
        message: Bytes,
    },
    Commit {
        end: Lsn,
    },
    /// A logical message by `pg_logical_emit_message`.
    Message,
    /// Nothing more before this LSN.
    Idle {
        end: Lsn,
        at: i64,
    },
}

/// A stream of the log from where our slot stands.
pub(crate) struct Transport {
    client: ReplicationClient,
}

impl Transport {
    /// Connects, makes sure that this very connection leads to the server of the epoch (an address may have moved since we
    /// asked), and starts to stream.
    pub async fn connect(config: &DatabaseConfig, epoch: &Epoch) -> Result<Self, TransportError> {
        let mut client = ReplicationClient::connect_gated(replication_config(config)?).await?;
        let server = client.identify_system().await?;
        if server.system_id != epoch.system_identifier || format!("{:08X}", server.timeline) != epoch.timeline {
            return Err(TransportError::OtherServer);
        }
        client.start().await?;
        client.wait_started().await?;
        Ok(Transport { client })
    }

    /// The next event. It may be dropped and called again without losing one.
    pub async fn next(&mut self) -> Result<LogEvent, TransportError> {
        let event = self.client.recv().await?.ok_or(TransportError::Ended)?;
        Ok(match event {
            ReplicationEvent::Begin { final_lsn, xid, commit_time_micros } => {
                LogEvent::Begin { commit: lsn(final_lsn), xid, committed_at: commit_time_micros + POSTGRES_EPOCH }
            }
            ReplicationEvent::XLogData { wal_start, data, .. } => LogEvent::Data { lsn: lsn(wal_start), message: data },
            ReplicationEvent::Commit { end_lsn, .. } => LogEvent::Commit { end: lsn(end_lsn) },
            ReplicationEvent::Message { .. } => LogEvent::Message,
            ReplicationEvent::KeepAlive { wal_end, server_time_micros, .. } => {
                LogEvent::Idle { end: lsn(wal_end), at: server_time_micros + POSTGRES_EPOCH }
            }
            ReplicationEvent::StoppedAt { .. } => return Err(TransportError::Ended),
        })
    }

    /// Tells the server that it may forget what ends before this LSN.
    pub fn acknowledge(&self, confirmed: Lsn) {
        self.client.update_applied_lsn(pgwire_replication::Lsn::from_u64(confirmed.0));
    }

    /// Ends the stream; the last acknowledgement is sent.
    pub async fn close(mut self) {
        if let Err(error) = self.client.shutdown().await {
            tracing::debug!(%error, "the replication connection did not end in order");
        }
    }
}

fn lsn(lsn: pgwire_replication::Lsn) -> Lsn {
    Lsn(lsn.as_u64())
}

fn replication_config(config: &DatabaseConfig) -> Result<ReplicationConfig, TransportError> {
    let url = Url::parse(config.url.expose()).map_err(|_| TransportError::Url)?;
    let text = |encoded: &str| percent_decode_str(encoded).decode_utf8_lossy().into_owned();
    let host = url.host_str().unwrap_or("127.0.0.1").trim_matches(['[', ']']).to_owned();
    let database = text(url.path().trim_start_matches('/'));
    let password = text(url.password().unwrap_or(""));
    let replication = ReplicationConfig::new(
        host,
        text(url.username()),
        password,
        database,
        &config.slot,
        config.publication.as_str(),
    );
    let settings: Vec<String> = SESSION.iter().map(|(name, value)| format!("-c {name}={value}")).collect();
    Ok(replication
        .with_port(url.port().unwrap_or(5432))
        .with_tls(tls(&url)?)
        .with_options(format!("{} -c wal_sender_timeout={SENDER_TIMEOUT}", settings.join(" ")))
        .with_application_name("lockstep-ingest")
        .with_status_interval(FEEDBACK_INTERVAL))
}

/// `sslmode` and `sslrootcert`, as libpq has them.
fn tls(url: &Url) -> Result<TlsConfig, TransportError> {
    let parameter = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let roots = parameter("sslrootcert").map(Into::into);
    match parameter("sslmode").as_deref() {
        Some("disable") => Ok(TlsConfig::disabled()),
        None | Some("allow" | "prefer") => Ok(TlsConfig { mode: SslMode::Prefer, ..TlsConfig::disabled() }),
        Some("require") => Ok(TlsConfig::require()),
        Some("verify-ca") => Ok(TlsConfig::verify_ca(roots)),
        Some("verify-full") => Ok(TlsConfig::verify_full(roots)),
        Some(_) => Err(TransportError::Url),
    }
}

/// The stream could not be had, or broke.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportError {
    #[error("the database URL is not one that a replication connection understands")]
    Url,
    #[error("the replication connection leads to another server than the queries do")]
    OtherServer,
    #[error("the server ended the stream")]
    Ended,
    #[error("the replication connection: {0}")]
    Wire(#[from] PgWireError),
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        Failure::unavailable(error)
    }
}
