//! From empty servers to a shop that is open: tables, catalogue, roles, history, warm tiers.

use crate::demo::caches::Caches;
use crate::demo::comparer::entry::subject;
use crate::demo::comparer::truth::Subject;
use crate::demo::output::{Output, thousands};
use crate::demo::prober::HotProduct;
use crate::demo::roles::{Role, Roles};
use crate::demo::servers::{Servers, http_client};
use crate::demo::shop::customers::USERS;
use crate::demo::shop::{history, load};
use crate::demo::trace::Trace;
use crate::demo::{PARTITIONS, ready};
use anyhow::{Context, Result};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use std::sync::Arc;
use std::time::Instant;

/// Four writers, the prober, the comparison, and some to spare.
const CONNECTIONS_MAX: u32 = 8;
/// What `lockstep warm` fills before the first reader comes.
const WARMED_VIEWS: [&str; 3] = ["product_all", "profile", "cart"];

/// A shop that is open.
pub struct OpenShop {
    /// Its database.
    pub pool: PgPool,
    /// L2 and L1.
    pub caches: Caches,
    /// For reading pages.
    pub http: reqwest::Client,
    /// What will be bought.
    pub trace: Arc<Trace>,
    /// The hot set as L1 has it now.
    pub hot: Vec<HotProduct>,
}

/// Opens the shop.
pub async fn open(servers: &Servers, roles: &mut Roles, output: &Output) -> Result<OpenShop> {
    let trace = tokio::task::spawn_blocking(Trace::read).await.context("reading the trace panicked")??;
    crate::database::migrate(&servers.database_url).await.context("migrate the database")?;
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .connect(&servers.database_url)
        .await
        .context("connect to the database")?;
    let caches = Caches::connect(&servers.l2_url, &servers.l2_nodes, &servers.l1_urls).await?;
    let http = http_client()?;

    let began = Instant::now();
    load::catalogue(&pool, &trace, output).await.context("load the catalogue")?;
    let products = thousands((trace.products.len() + load::EXTRAS) as u64);
    output.line(format!(
        "catalogue loaded: {products} products, {} users, {:.1} s",
        USERS,
        began.elapsed().as_secs_f64()
    ));

    // The history comes after the ingest, so that the forecast finds it in the log.
    roles.start(Role::Ingest, ready::streaming(&pool)).await?;
    history::insert(&pool, &trace, output).await.context("insert the history")?;
    roles.start(Role::Engine, ready::applying(&caches, PARTITIONS)).await?;
    roles.start(Role::Gateway, ready::answering(&http, &servers.gateway_url)).await?;
    roles.start(Role::Forecast, async { Ok(()) }).await?;
    let hot = warm(servers, &caches, output).await?;
    Ok(OpenShop { pool, caches, http, trace: Arc::new(trace), hot })
}

async fn warm(servers: &Servers, caches: &Caches, output: &Output) -> Result<Vec<HotProduct>> {
    let began = Instant::now();
    for view in WARMED_VIEWS {
        servers.lockstep()?.warm(view).await?;
    }
    let hot: Vec<HotProduct> = ready::hot_keys(caches, output).await?.into_iter().filter_map(hot_product).collect();
    anyhow::ensure!(!hot.is_empty(), "no hot product came into L1");
    output.line(format!(
        "tiers warmed: all products in L2, {} hot ones, all profiles and carts in L1, {:.1} s",
        thousands(hot.len() as u64),
        began.elapsed().as_secs_f64()
    ));
    Ok(hot)
}

fn hot_product(l1_key: String) -> Option<HotProduct> {
    match subject(&l1_key) {
        Some(Subject::Product(product_id)) => Some(HotProduct { product_id, l1_key }),
        _ => None,
    }
}
