//! What ingest counts.

use lockstep_process::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

/// Handles; clones share the figures.
#[derive(Clone, Debug, Default)]
pub(crate) struct IngestMetrics {
    pub rows: Counter,
    pub transactions: Counter,
    pub incomplete: Counter,
    pub lost: Counter,
    pub snapshot_rows: Counter,
    pub invalidations: Counter,
    pub interruptions: Counter,
    pub stale_connections: Counter,
    pub streaming: Gauge,
    pub epoch: Gauge,
    pub confirmed_at: Gauge,
    pub retained: Gauge,
    pub unread: Gauge,
}

impl IngestMetrics {
    pub fn register(metrics: &Metrics) -> Self {
        let own = IngestMetrics::default();
        let counters = [
            ("ingest_rows", "Row changes handed to Kafka's client", &own.rows),
            ("ingest_transactions", "Commits read from the log", &own.transactions),
            ("ingest_rows_incomplete", "Rows published without values, being too large for a record", &own.incomplete),
            ("ingest_rows_lost", "Rows that could not be published; entries of their groups were dropped", &own.lost),
            ("ingest_snapshot_rows", "Rows published by snapshots", &own.snapshot_rows),
            ("ingest_invalidations", "Invalidations that were asked for through the log", &own.invalidations),
            ("ingest_interruptions", "Ends of streaming that were not asked for", &own.interruptions),
            ("ingest_stale_connections_ended", "Connections of ours, without a client, ended", &own.stale_connections),
        ];
        counters.into_iter().for_each(|(name, help, counter)| metrics.register(name, help, counter));
        let gauges = [
            ("ingest_streaming", "1 while this process streams; 0 while it stands by or tries", &own.streaming),
            ("ingest_epoch", "The epoch", &own.epoch),
            ("ingest_confirmed_timestamp_seconds", "The server's time up to which all is in Kafka", &own.confirmed_at),
            ("ingest_retained_wal_bytes", "Bytes of the log that PostgreSQL keeps for our slot", &own.retained),
            ("ingest_unread_wal_bytes", "Bytes of the log that have not been acknowledged", &own.unread),
        ];
        gauges.into_iter().for_each(|(name, help, gauge)| metrics.register(name, help, gauge));
        own
    }
}
