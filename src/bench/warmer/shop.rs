//! A shop with ingest and engine at work, every product in L2, and two views of products on L1.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use lockstep_process::config::{Config, ConfigArgs};
use lockstep_schemas::policy::{self, Policy, View};
use lockstep_source::Database;
use lockstep_source::loader::Loader;
use lockstep_tiers::{Place, Tiers};
use redis::cluster_async::ClusterConnection;
use sqlx::postgres::PgPool;

use crate::database;
use crate::demo::caches::{Caches, RedisTier};
use crate::demo::output::Output;
use crate::demo::roles::Role;
use crate::demo::roles::process::{Launcher, RoleProcess};
use crate::demo::servers::Servers;
use crate::demo::{PARTITIONS, ready};

/// Beside the hot view, one that is left to its readers; neither may end by its time, which passes faster here.
const LRU_VIEW: &str = r#"
[views.product_lru]
group = "catalogue"
tiers = ["l1"]
through = "product_all"
key = "product:lru:{product_id}"
ttl = "24h"
[[views.product_lru.sources]]
table = "public.products"
columns = ["product_id", "name", "description", "category", "active"]
[[views.product_lru.sources]]
table = "public.prices"
columns = ["price_pence", "currency"]
[[views.product_lru.sources]]
table = "public.inventory"
columns = ["stock"]
"#;

pub(super) fn policy_text() -> String {
    format!(
        "{}\n{LRU_VIEW}",
        policy::DEFAULT.replacen("ttl = \"15m\"\nsliding = true\nhot_set", "ttl = \"24h\"\nhot_set", 1)
    )
}

pub(super) struct Shop {
    pub tiers: Tiers,
    pub all: Arc<View>,
    pub hot: Arc<View>,
    pub lru: Arc<View>,
    caches: Caches,
    roles: Vec<RoleProcess>,
    _launcher: Launcher,
}

impl Shop {
    pub async fn open(servers: &Servers, products: &BTreeSet<String>, output: &Output) -> Result<Self> {
        database::migrate(&servers.database_url).await?;
        let pool = PgPool::connect(&servers.database_url).await?;
        insert(&pool, products).await.context("insert the products")?;
        let path = servers.folder.join("bench-policy.toml");
        std::fs::write(&path, policy_text()).context("write the policy")?;
        let mut lockstep = servers.lockstep()?;
        lockstep.environment.push(("LOCKSTEP_POLICY".to_owned(), path.display().to_string()));
        let launcher = Launcher::start(lockstep.clone(), &servers.folder.join("logs"))?;
        let caches = Caches::connect(&servers.l2_url, &servers.l2_nodes, &servers.l1_urls).await?;
        let ingest = launcher.launch(Role::Ingest).await?;
        ready::streaming(&pool).await.with_context(|| ingest.last_lines())?;
        let engine = launcher.launch(Role::Engine).await?;
        ready::applying(&caches, PARTITIONS).await.with_context(|| engine.last_lines())?;
        output.line("filling product_all");
        lockstep.warm("product_all").await?;
        let policy = Policy::parse(&policy_text()).context("the bench's policy")?;
        let view = |name: &str| policy.views.get(name).cloned().with_context(|| format!("view {name}"));
        Ok(Shop {
            tiers: tiers(servers, &policy).await?,
            all: view("product_all")?,
            hot: view("product_hot")?,
            lru: view("product_lru")?,
            caches,
            roles: vec![ingest, engine],
            _launcher: launcher,
        })
    }

    /// Removes an entry as the memory's limit would, at once and without a word: in time that runs so fast, the lease that
    /// remains where the warmer lets go would keep the product out for hours.
    pub async fn evict(&self, view: &View, product: &str) -> Result<()> {
        let place: Place = self.tiers.l1.layout().place(&view.group, product);
        let watermark = self.tiers.l1.layout().watermark(&place);
        let head = watermark.trim_end_matches("_w");
        let mut l1: ClusterConnection = self.caches.l1.clone();
        let name = format!("{head}{}", view.key.key(product).as_str());
        Ok(redis::cmd("UNLINK").arg(name).query_async::<()>(&mut l1).await?)
    }

    /// Entries of a view in L1.
    pub async fn entries(&self, pattern: &str) -> Result<u64> {
        let keys = self.caches.keys(RedisTier::L1, pattern).await?;
        Ok(keys.iter().filter(|key| !key.ends_with(":_lease")).count() as u64)
    }

    pub async fn close(mut self) {
        for role in &mut self.roles {
            role.kill().await;
        }
    }
}

async fn tiers(servers: &Servers, policy: &Policy) -> Result<Tiers> {
    let args = ConfigArgs {
        database_url: Some(servers.database_url.clone()),
        l2_url: Some(servers.l2_url.clone()),
        l1_urls: Some(servers.l1_urls.clone()),
        partitions: Some(PARTITIONS as u32),
        ..ConfigArgs::default()
    };
    let config = Config::load(&args)?;
    let database = Database::connect(config.database()?, "lockstep-bench").await?;
    let loader = Loader::prepare(&database, policy).await?;
    Ok(Tiers::connect(&config, policy, Arc::new(loader)).await?)
}

async fn insert(pool: &PgPool, products: &BTreeSet<String>) -> Result<()> {
    let ids: Vec<&str> = products.iter().map(String::as_str).collect();
    for statement in [
        "INSERT INTO products (product_id, name) SELECT id, 'Product ' || id FROM unnest($1::text[]) id",
        "INSERT INTO prices (product_id, price_pence) SELECT id, 499 FROM unnest($1::text[]) id",
        "INSERT INTO inventory (product_id, stock) SELECT id, 100 FROM unnest($1::text[]) id",
    ] {
        sqlx::query(statement).bind(&ids).execute(pool).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_right() {
        let policy = Policy::parse(&policy_text()).expect("the bench's policy");
        assert_eq!(policy.views["product_hot"].ttl, policy.views["product_lru"].ttl);
        assert!(!policy.views["product_hot"].sliding);
    }
}
