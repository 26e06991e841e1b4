//! What every process of Lockstep needs before its own work: configuration, telemetry, failures with exit codes, retry.
//! Used by all other crates; uses none of them.

pub mod clock;
pub mod config;
pub mod failure;
pub mod metrics;
pub mod retry;
pub mod suggest;
pub mod telemetry;

pub use failure::Failure;
pub use metrics::Metrics;

/// The signal to stop, passed to every task.
pub type Shutdown = tokio_util::sync::CancellationToken;

/// Chooses the process's one TLS provider. Call it before anything connects: several crates in the tree bring one, and
/// rustls refuses to guess.
pub fn install_crypto_provider() {
    // A second call finds the first one's provider, which is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
