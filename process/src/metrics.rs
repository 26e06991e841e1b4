//! Metrics of a process. A role registers what it counts; keys never become labels.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::{Metric, Registry};
use tokio::net::TcpListener;

use crate::{Failure, Shutdown};

mod exposition;

/// All that the roles of this process count, and what they say against being ready. Clones share it.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    /// What is not as it should be, by who says so.
    complaints: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics { registry: Arc::new(Mutex::new(Registry::with_prefix("lockstep"))), complaints: Arc::default() }
    }
}

impl Metrics {
    /// Adds a metric under `lockstep_<name>`. The unit stands in the name; `_total` is added to counters.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: &M) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register(name, help, metric.clone());
    }

    /// All of them, in OpenMetrics text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner));
        text
    }

    /// Says why the process is not ready, or that nothing stands against it any more.
    pub fn complain(&self, who: &'static str, why: Option<String>) {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            Some(why) => drop(complaints.insert(who, why)),
            None => drop(complaints.remove(who)),
        }
    }

    /// `ready`, or all that stands against it, a line each.
    fn readiness(&self) -> (StatusCode, String) {
        let complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        if complaints.is_empty() {
            return (StatusCode::OK, "ready\n".to_owned());
        }
        let lines = complaints.iter().map(|(who, why)| format!("{who}: {why}\n"));
        (StatusCode::SERVICE_UNAVAILABLE, lines.collect())
    }

    /// Serves them at `/metrics`, `/livez` and `/readyz` until shutdown.
    pub async fn serve(self, listen: &str, shutdown: Shutdown) -> Result<(), Failure> {
        let listener = TcpListener::bind(listen).await.map_err(|error| {
            Failure::configuration(format!("can't listen on {listen} for metrics"))
                .because(error)
                .remedy("free the port, or choose another with LOCKSTEP_METRICS_LISTEN")
        })?;
        let shared = self.clone();
        let ready = move || {
            let answer = shared.readiness();
            async move { answer }
        };
        let answer = move |headers: HeaderMap| {
            let (kind, text) = answer(&headers, self.text());
            async move { ([(header::CONTENT_TYPE, kind)], text) }
        };
        let router = Router::new().route("/metrics", get(answer));
        let router = router.route("/livez", get(|| async { "alive\n" })).route("/readyz", get(ready));
        tracing::info!(%listen, "metrics are served");
        let served = axum::serve(listener, router).with_graceful_shutdown(async move { shutdown.cancelled().await });
        served.await.map_err(Failure::internal)
    }
}

/// Media type and text for who asks with these headers, from OpenMetrics.
pub fn answer(headers: &HeaderMap, open_metrics: String) -> (&'static str, String) {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    exposition::answer(accept, open_metrics)
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn who_complains_is_told_until_he_is_content() {
        let metrics = Metrics::default();
        metrics.complain("audit", Some("l2 stands still".to_owned()));
        assert_eq!(metrics.readiness(), (StatusCode::SERVICE_UNAVAILABLE, "audit: l2 stands still\n".to_owned()));
        metrics.complain("audit", None);
        assert_eq!(metrics.readiness().0, StatusCode::OK);
    }

    #[test]
    fn counters_are_totals() {
        let (metrics, counter) = (Metrics::default(), Counter::<u64>::default());
        metrics.register("ingest_rows", "Rows", &counter);
        counter.inc();
        assert!(metrics.text().contains("lockstep_ingest_rows_total 1"), "{}", metrics.text());
    }
}
