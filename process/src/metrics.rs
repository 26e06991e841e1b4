//! Metrics of a process, in OpenMetrics text. A role registers what it counts; keys never become labels.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::{Metric, Registry};
use tokio::net::TcpListener;

use crate::{Failure, Shutdown};

/// The media type of what [`Metrics::text`] gives.
const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All that the roles of this process count. Clones share it.
#[derive(Clone)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Default for Metrics {
    fn default() -> Self {
        Metrics(Arc::new(Mutex::new(Registry::with_prefix("lockstep"))))
    }
}

impl Metrics {
    /// Adds a metric under `lockstep_<name>`. The unit stands in the name; `_total` is added to counters.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: &M) {
        let mut registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register(name, help, metric.clone());
    }

    /// All of them.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.0.lock().unwrap_or_else(PoisonError::into_inner));
        text
    }

    /// Serves them at `/metrics` until shutdown.
    pub async fn serve(self, listen: &str, shutdown: Shutdown) -> Result<(), Failure> {
        let listener = TcpListener::bind(listen).await.map_err(|error| {
            Failure::configuration(format!("can't listen on {listen} for metrics"))
                .because(error)
                .remedy("free the port, or choose another with LOCKSTEP_METRICS_LISTEN")
        })?;
        let answer = move || {
            let text = self.text();
            async move { ([(header::CONTENT_TYPE as HeaderName, HeaderValue::from_static(TEXT))], text) }
        };
        let router = Router::new().route("/metrics", get(answer));
        tracing::info!(%listen, "metrics are served");
        let served = axum::serve(listener, router).with_graceful_shutdown(async move { shutdown.cancelled().await });
        served.await.map_err(Failure::internal)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn counters_are_totals() {
        let (metrics, counter) = (Metrics::default(), Counter::<u64>::default());
        metrics.register("ingest_rows", "Rows", &counter);
        counter.inc();
        assert!(metrics.text().contains("lockstep_ingest_rows_total 1"), "{}", metrics.text());
    }
}
