//! The gateway's start and end.

use std::sync::Arc;
use std::time::Duration;

use lockstep_process::config::Config;
use lockstep_process::{Failure, Metrics, Shutdown};
use lockstep_schemas::follower::Follower;
use lockstep_schemas::key::KeyPattern;
use lockstep_schemas::policy::{Policy, TierName, View};
use lockstep_schemas::switched::Switched;
use lockstep_schemas::topics;
use lockstep_source::loader::Loader;
use lockstep_source::{Database, history};
use lockstep_tiers::Tiers;
use tokio::net::TcpListener;

use crate::begun::{Begun, POLL_INTERVAL};
use crate::hot::HotSet;
use crate::metrics::GatewayMetrics;
use crate::read::{Own, Products};
use crate::routes::{Gateway, router};
use crate::views::Views;

const DRAIN_WAIT_MAX: Duration = Duration::from_secs(5);

/// Serves until shutdown, then ends what is under way.
pub async fn run(
    config: &Config,
    policy: &Policy,
    follower: &Follower,
    metrics: &Metrics,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    topics::insist_on_partitions(config.kafka()?, policy, config.partitions).await?;
    let listen = config.gateway_listen();
    let listener = TcpListener::bind(listen).await.map_err(|error| {
        Failure::configuration(format!("can't listen on {listen}"))
            .because(error)
            .remedy("free the port, or choose another with --gateway-listen or LOCKSTEP_GATEWAY_LISTEN")
    })?;
    let database = Database::connect(config.database()?, "lockstep-gateway").await?;
    let loader = Loader::prepare(&database, policy).await?;
    let (all, hot, page) = (view(policy, "product_all")?, view(policy, "product_hot")?, view(policy, "product_page")?);
    let hot_set = HotSet::follow(follower);
    let Some(switched) = Switched::open(config.kafka()?, follower, &shutdown).await else { return Ok(()) };
    let history = history::follow(database.clone(), shutdown.clone());
    let products = Products { kinds: loader.kinds(&all), all, hot, page, hot_set, switched: switched.clone() };
    let own = |name| own(policy, &loader, name, &switched);
    let (cart, profile) = (own("cart")?, own("profile")?);
    let tiers = Tiers::connect(config, policy, Arc::new(loader)).await?.following(switched).within(history);
    let response_max = config.edge().map_or(Duration::from_secs(2), |edge| edge.response_max);
    // The poll's age counts as part of the response's time.
    let deadline = response_max.saturating_sub(POLL_INTERVAL * 3);
    let metrics = GatewayMetrics::register(metrics);
    let gateway = Gateway {
        views: views(config, policy, &products.all, &metrics)?,
        begun: Begun::follow(tiers.l2.clone(), policy, POLL_INTERVAL * 3, shutdown.clone()),
        tiers,
        products,
        cart,
        profile,
        metrics,
        response_max: deadline,
        shutdown: shutdown.clone(),
    };
    tracing::info!(%listen, "the gateway listens");
    let stop = shutdown.clone();
    let serve =
        axum::serve(listener, router(Arc::new(gateway))).with_graceful_shutdown(async move { stop.cancelled().await });
    let late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN_WAIT_MAX).await;
    };
    let served = tokio::select! {
        served = async { serve.await } => served,
        () = late => Ok(()),
    };
    database.close().await;
    served.map_err(|error| Failure::internal("serving").because(error))
}

/// The publisher of view events, where they are wanted.
fn views(config: &Config, policy: &Policy, all: &View, metrics: &GatewayMetrics) -> Result<Option<Views>, Failure> {
    let Some(weight) = config.gateway_view_weight else { return Ok(None) };
    if policy.groups[&all.group].is_key_private {
        return Err(Failure::configuration("view events name products, and the key of products is private")
            .remedy("leave [gateway] views out"));
    }
    Views::open(config.kafka()?, weight, metrics.views.clone()).map(Some)
}

fn view(policy: &Policy, name: &str) -> Result<Arc<View>, Failure> {
    let missing = |_| {
        Failure::configuration(format!("the gateway's route /v1/product needs a view {name}"))
            .remedy("declare it in the policy; the built-in policy shows how")
    };
    plain(policy.view(name).map_err(missing)?)
}

/// A view of what is a customer's own; the policy need not have it.
fn own(policy: &Policy, loader: &Loader, name: &str, switched: &Switched) -> Result<Option<Own>, Failure> {
    let Some(view) = policy.views.get(name).filter(|view| view.through.is_none() && view.tier != TierName::L3) else {
        return Ok(None);
    };
    Ok(Some(Own { view: plain(view)?, kinds: loader.kinds(view), switched: switched.clone() }))
}

/// A route names the entity and nothing else.
fn plain(view: &Arc<View>) -> Result<Arc<View>, Failure> {
    if view.key.is_plain() && view.tag.as_ref().is_none_or(KeyPattern::is_plain) {
        return Ok(view.clone());
    }
    Err(Failure::configuration(format!(
        "the gateway can't make the keys of view {}: they have other columns",
        view.name
    ))
    .remedy("give the view that a route reads a key of the entity alone, and the other one another name"))
}
