//! The routes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Response, StatusCode};
use axum::routing::get;
use lockstep_process::Shutdown;
use lockstep_schemas::entry::LoadError;
use lockstep_schemas::key::MARKER_SUFFIX;
use lockstep_schemas::policy::View;
use lockstep_tiers::{Answer, Layout, Place, Tiers, edge};

use crate::answer::{Keep, Kinds, failure, response};
use crate::begun::Begun;
use crate::hot::HotSet;
use crate::metrics::Metrics;

const ENTITY_BYTES_MAX: usize = 200;

/// What a handler needs.
pub(crate) struct Gateway {
    pub tiers: Tiers,
    pub all: Arc<View>,
    pub hot: Arc<View>,
    pub page: Arc<View>,
    pub kinds: Kinds,
    pub hot_set: HotSet,
    pub begun: Begun,
    pub metrics: Metrics,
    /// An answer that takes longer is not given: a later purge counts on it.
    pub response_max: Duration,
    pub shutdown: Shutdown,
}

pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/v1/product/{product_id}", get(product))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(gateway)
}

async fn product(State(gateway): State<Arc<Gateway>>, Path(product): Path<String>) -> Response<Body> {
    let names_marker = product.ends_with(MARKER_SUFFIX);
    if product.is_empty() || product.len() > ENTITY_BYTES_MAX || names_marker || product.chars().any(char::is_control) {
        let why = "a product id has 1 to 200 bytes, no control characters, and does not end in :_lease";
        return failure(StatusCode::BAD_REQUEST, why);
    }
    let began = Instant::now();
    let answered = tokio::time::timeout(gateway.response_max, gateway.read(&product)).await;
    let (by, response) = match answered {
        Ok(Ok(answer)) => (answer.by.as_str(), gateway.respond(&product, &answer)),
        Ok(Err(error)) => {
            tracing::warn!(%error, "a read failed");
            (
                "error",
                failure(StatusCode::SERVICE_UNAVAILABLE, "the caches do not have it, and the database does not answer"),
            )
        }
        Err(_) => ("error", failure(StatusCode::SERVICE_UNAVAILABLE, "no answer in time")),
    };
    gateway.metrics.answered(by, began.elapsed().as_secs_f64());
    response
}

impl Gateway {
    async fn read(&self, product: &str) -> Result<Answer, LoadError> {
        if self.hot_set.contains(product) {
            self.tiers.get_through(&self.hot, &self.all, product).await
        } else {
            self.tiers.get(&self.all, product).await
        }
    }

    fn respond(&self, product: &str, answer: &Answer) -> Response<Body> {
        let place = self.tiers.l2.layout().place(&self.page.group, product);
        let known = answer.mark.as_ref().is_some_and(|mark| self.begun.allows(&place, mark.position));
        let keep = if known {
            Keep::For { seconds: self.page.ttl.as_secs(), tags: self.tags(product, &place) }
        } else {
            Keep::No
        };
        response(answer, &self.kinds, &keep)
    }

    /// The page's own tag, and that of its partition, by which it goes when what changed is not known.
    fn tags(&self, product: &str, place: &Place) -> String {
        let own = self.page.tag.as_ref().map(|tag| edge::tag(tag.key(product).as_str())).unwrap_or_default();
        format!("{own} {}", Layout::partition_tag(place))
    }
}

async fn readyz(State(gateway): State<Arc<Gateway>>) -> Response<Body> {
    if gateway.shutdown.is_cancelled() {
        return failure(StatusCode::SERVICE_UNAVAILABLE, "stopping");
    }
    let place = Place { group: gateway.all.group.clone(), partition: 0 };
    for tier in [&gateway.tiers.l2, &gateway.tiers.l1] {
        let name = tier.name.as_str();
        match tier.watermark(&place).await {
            Ok(Some(_)) => {}
            Ok(None) => {
                return failure(
                    StatusCode::SERVICE_UNAVAILABLE,
                    &format!("{name} has no watermark yet; is the engine running?"),
                );
            }
            Err(error) => return failure(StatusCode::SERVICE_UNAVAILABLE, &format!("{name}: {error}")),
        }
    }
    if let Err(error) = gateway.tiers.loader.load(&gateway.all, &["-".to_owned()]).await {
        return failure(StatusCode::SERVICE_UNAVAILABLE, &error.to_string());
    }
    Response::new(Body::from("ready\n"))
}

async fn metrics(State(gateway): State<Arc<Gateway>>) -> Response<Body> {
    let mut response = Response::new(Body::from(gateway.metrics.text()));
    let kind = axum::http::HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(axum::http::header::CONTENT_TYPE, kind);
    response
}
