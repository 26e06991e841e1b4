//! The routes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use lockstep_process::Shutdown;
use lockstep_schemas::entry::LoadError;
use lockstep_schemas::key::MARKER_SUFFIX;
use lockstep_schemas::policy::OnBehind;
use lockstep_tiers::{AnsweredBy, Layout, Place, Tiers, WARMING_HEADER, edge};

use crate::answer::{Keep, failure, response};
use crate::begun::Begun;
use crate::metrics::{GatewayMetrics, ReadResult};
use crate::read::{Given, Own, Products};
use crate::views::Views;

const ENTITY_BYTES_MAX: usize = 200;

/// What a handler needs.
pub(crate) struct Gateway {
    pub tiers: Tiers,
    pub products: Products,
    /// Where the policy has such a view.
    pub cart: Option<Own>,
    pub profile: Option<Own>,
    pub begun: Begun,
    pub metrics: GatewayMetrics,
    /// Where view events are to be published.
    pub views: Option<Views>,
    /// An answer that takes longer is not given: a later purge counts on it.
    pub response_max: Duration,
    pub shutdown: Shutdown,
}

pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/v1/product/{product_id}", get(product))
        .route("/v1/cart/{user_id}", get(cart))
        .route("/v1/profile/{user_id}", get(profile))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(gateway)
}

async fn product(
    State(gateway): State<Arc<Gateway>>,
    Path(product): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    let place = gateway.tiers.l2.layout().place(&gateway.products.page.group, &product);
    let read = async { tokio::join!(gateway.products.read(&gateway.tiers, &product), gateway.begun.expect(&place)).0 };
    let response = gateway.answer("product", &product, read, |given| gateway.page(&product, given)).await;
    let is_reader = !headers.contains_key(WARMING_HEADER);
    if let Some(views) = gateway.views.as_ref().filter(|_| is_reader && response.status() == StatusCode::OK) {
        views.saw(&product);
    }
    response
}

async fn cart(State(gateway): State<Arc<Gateway>>, Path(user): Path<String>) -> Response<Body> {
    gateway.own("cart", gateway.cart.as_ref(), &user).await
}

async fn profile(State(gateway): State<Arc<Gateway>>, Path(user): Path<String>) -> Response<Body> {
    gateway.own("profile", gateway.profile.as_ref(), &user).await
}

impl Gateway {
    /// What is a customer's own is for nobody's cache behind us.
    async fn own(&self, what: &'static str, own: Option<&Own>, user: &str) -> Response<Body> {
        let Some(own) = own else {
            return failure(StatusCode::NOT_FOUND, &format!("the policy has no view {what}"));
        };
        self.answer(what, user, own.read(&self.tiers, user), |given| response(what, given, &own.kinds, &Keep::No)).await
    }

    /// Answers in time, or says what is wrong.
    async fn answer(
        &self,
        what: &'static str,
        entity: &str,
        read: impl Future<Output = Result<Given, LoadError>>,
        respond: impl FnOnce(&Given) -> Response<Body>,
    ) -> Response<Body> {
        let names_marker = entity.ends_with(MARKER_SUFFIX);
        if entity.is_empty() || entity.len() > ENTITY_BYTES_MAX || names_marker || entity.chars().any(char::is_control)
        {
            let why =
                format!("the id of a {what} has 1 to 200 bytes, no control characters, and does not end in :_lease");
            return failure(StatusCode::BAD_REQUEST, &why);
        }
        let began = Instant::now();
        let (by, result, response) = match tokio::time::timeout(self.response_max, read).await {
            Ok(Ok(given)) => (given.answer.by.as_str(), result(&given), respond(&given)),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a read failed");
                let why = "the caches do not have it, and the database does not answer";
                ("error", ReadResult::Failed, failure(StatusCode::SERVICE_UNAVAILABLE, why))
            }
            Err(_) => ("error", ReadResult::Late, failure(StatusCode::SERVICE_UNAVAILABLE, "no answer in time")),
        };
        self.metrics.answered(what, by, result, began.elapsed().as_secs_f64());
        response
    }

    /// An answer from a tier that is behind its bound is not for the CDN to repeat.
    fn page(&self, product: &str, given: &Given) -> Response<Body> {
        let page = &self.products.page;
        let place = self.tiers.l2.layout().place(&page.group, product);
        let mark = given.answer.mark.as_ref().filter(|_| given.behind.is_none());
        let keep = if mark.is_some_and(|mark| self.begun.allows(&place, mark.position)) {
            Keep::For { seconds: page.ttl.as_secs(), tags: self.tags(product, &place) }
        } else {
            Keep::No
        };
        response("product", given, &self.products.kinds, &keep)
    }

    /// The page's own tag, and that of its partition, by which it goes when what changed is not known.
    fn tags(&self, product: &str, place: &Place) -> String {
        let tag = self.products.page.tag.as_ref();
        let own = tag.map(|tag| edge::tag(tag.key(product).as_str())).unwrap_or_default();
        format!("{own} {}", Layout::partition_tag(place))
    }
}

fn result(given: &Given) -> ReadResult {
    match given.behind {
        Some(OnBehind::Bypass) if given.answer.by == AnsweredBy::Database => ReadResult::Bypass,
        Some(OnBehind::Stale) => ReadResult::Stale,
        _ if given.answer.fields.is_none() => ReadResult::Absent,
        _ => ReadResult::Found,
    }
}

async fn readyz(State(gateway): State<Arc<Gateway>>) -> Response<Body> {
    if gateway.shutdown.is_cancelled() {
        return failure(StatusCode::SERVICE_UNAVAILABLE, "stopping");
    }
    let place = Place { group: gateway.products.all.group.clone(), partition: 0 };
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
    if let Err(error) = gateway.tiers.loader.load(&gateway.products.all, &["-".to_owned()]).await {
        return failure(StatusCode::SERVICE_UNAVAILABLE, &error.to_string());
    }
    Response::new(Body::from("ready\n"))
}

async fn metrics(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> impl IntoResponse {
    let (kind, text) = lockstep_process::metrics::answer(&headers, gateway.metrics.text());
    ([(header::CONTENT_TYPE, kind)], text)
}
