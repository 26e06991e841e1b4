//! Plants stale values behind the engine's back, to prove that the comparison finds them. Sits between the end of the
//! traffic and the comparison, so that nothing repairs them.

use crate::demo::caches::{Caches, RedisTier};
use crate::demo::shop::customers::ADDRESS;
use crate::demo::subject::{Subject, plain, subject};
use anyhow::{Context, Result};
use lockstep_schemas::shown::Shown;
use redis::aio::ConnectionLike;
use std::collections::HashMap;

const FIELD: &str = "price_pence";
/// So many products are tried for each page that is to be stale.
const TRIES_PER_PAGE: usize = 10;

/// Where stale values are planted.
pub struct Planter<'a> {
    /// L2 and L1.
    pub caches: &'a Caches,
    /// The edge's address.
    pub edge: &'a str,
    /// Any client.
    pub http: &'a reqwest::Client,
}

/// A product with an entry in L2, and its key in L1 where it has one.
struct Target {
    product_id: String,
    l2_key: String,
    l1_key: Option<String>,
}

impl Planter<'_> {
    /// Makes `count` values in each tier stale; returns what was planted, in words.
    pub async fn plant(&self, count: usize) -> Result<Vec<String>> {
        let (hot, cold): (Vec<Target>, Vec<Target>) =
            self.targets().await?.into_iter().partition(|target| target.l1_key.is_some());
        let mut hot = hot.into_iter();
        // Pages first: their targets get their values back. L2's are not in L1, so that nothing carries them outward.
        let mut planted = self.plant_pages(count, &mut hot).await?;
        let with_l2 = planted.len() + count;
        for target in cold {
            if planted.len() == with_l2 {
                break;
            }
            if let Some(price) = add_a_penny(&mut self.caches.l2.clone(), &target.l2_key).await? {
                planted.push(format!("l2   {}: {FIELD} {price}", plain(&target.l2_key)));
            }
        }
        planted.extend(self.plant_name(count).await?);
        for key in hot.filter_map(|target| target.l1_key) {
            if planted.len() == 3 * count {
                break;
            }
            if let Some(price) = add_a_penny(&mut self.caches.l1.clone(), &key).await? {
                planted.push(format!("l1   {}: {FIELD} {price}", plain(&key)));
            }
        }
        anyhow::ensure!(
            planted.len() == 3 * count,
            "only {} of {} stale values could be planted",
            planted.len(),
            3 * count
        );
        Ok(planted)
    }

    /// One of L1's is somebody's name, which is private: its report must not tell it.
    async fn plant_name(&self, count: usize) -> Result<Option<String>> {
        if count == 0 {
            return Ok(None);
        }
        let profiles = self.caches.keys(RedisTier::L1, "*:user:*").await?;
        let is_other = |key: &String| matches!(subject(key), Some(Subject::User(id)) if id != "1");
        let Some(key) = profiles.into_iter().find(is_other) else { return Ok(None) };
        let mut l1 = self.caches.l1.clone();
        redis::cmd("HSET").arg(&key).arg("name").arg(ADDRESS).exec_async(&mut l1).await.context("plant a name")?;
        Ok(Some(format!("l1   {}: name {}", plain(&key), Shown::private(ADDRESS))))
    }

    /// Absences can not be planted: they have no price.
    async fn targets(&self) -> Result<Vec<Target>> {
        let product = |key: &str| match subject(key) {
            Some(Subject::Product(product_id)) => Some(product_id),
            _ => None,
        };
        let l1_keys = self.caches.keys(RedisTier::L1, "*:product:hot:*").await?;
        let mut l1_keys: HashMap<String, String> =
            l1_keys.into_iter().filter_map(|key| Some((product(&key)?, key))).collect();
        let mut targets = Vec::new();
        for l2_key in self.caches.keys(RedisTier::L2, "*product:all:*").await? {
            let Some(product_id) = product(&l2_key) else { continue };
            let has_price: bool =
                redis::cmd("HEXISTS").arg(&l2_key).arg(FIELD).query_async(&mut self.caches.l2.clone()).await?;
            if has_price {
                let l1_key = l1_keys.remove(&product_id);
                targets.push(Target { product_id, l2_key, l1_key });
            }
        }
        Ok(targets)
    }

    /// A page is stale when it was made from a stale entry, and that entry has its value back.
    async fn plant_pages(&self, count: usize, targets: &mut impl Iterator<Item = Target>) -> Result<Vec<String>> {
        let mut planted = Vec::new();
        let mut tries = 0;
        while planted.len() < count && tries < count * TRIES_PER_PAGE {
            let Some(target) = targets.next() else { break };
            let path = format!("/v1/product/{}", target.product_id);
            if let Some(price) = self.plant_page(&target, &path).await? {
                planted.push(format!("edge {path}: {FIELD} {price}"));
            }
            tries += 1;
        }
        Ok(planted)
    }

    /// None: the edge does not keep this page, or what it keeps is not what was planted.
    async fn plant_page(&self, target: &Target, path: &str) -> Result<Option<i64>> {
        let (mut l1, mut l2) = (self.caches.l1.clone(), self.caches.l2.clone());
        let Some(price) = add_a_penny(&mut l2, &target.l2_key).await? else { return Ok(None) };
        if let Some(key) = &target.l1_key {
            set_price(&mut l1, key, price).await?;
        }
        let kept = self.keep_page(&target.product_id, path).await;
        set_price(&mut l2, &target.l2_key, price - 1).await?;
        if let Some(key) = &target.l1_key {
            set_price(&mut l1, key, price - 1).await?;
        }
        Ok(kept?.filter(|kept| *kept == price))
    }

    /// Has the edge throw the page away and fetch it anew; returns the price on the page that it then keeps.
    async fn keep_page(&self, product_id: &str, path: &str) -> Result<Option<i64>> {
        let url = format!("{}{path}", self.edge.trim_end_matches('/'));
        let purge = reqwest::Method::from_bytes(b"PURGE").context("name the method PURGE")?;
        self.http
            .request(purge, &url)
            .header("xkey-purge", format!("product:{product_id}"))
            .send()
            .await?
            .error_for_status()?;
        self.http.get(&url).send().await?.bytes().await?;
        let kept = self.http.get(&url).send().await?;
        if kept.headers().get("x-cache").is_none_or(|cache| cache != "HIT") {
            return Ok(None);
        }
        let page: serde_json::Value = kept.json().await?;
        Ok(page[FIELD].as_i64())
    }
}

/// Adds a penny, and touches nothing else; returns the new price. `None`: there is no such entry any more.
async fn add_a_penny(connection: &mut impl ConnectionLike, key: &str) -> Result<Option<i64>> {
    let read = redis::cmd("HGET").arg(key).arg(FIELD).query_async(connection).await;
    let Some(price): Option<i64> = read.with_context(|| format!("read {key}"))? else { return Ok(None) };
    Ok(set_price(connection, key, price + 1).await?.then_some(price + 1))
}

/// Sets the price of an entry that is there. One that left meanwhile, as a product that is not hot any more does, would
/// else be one of a price alone.
async fn set_price(connection: &mut impl ConnectionLike, key: &str, price: i64) -> Result<bool> {
    const IF_THERE: &str = "if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end \
                            redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) return 1";
    let set = redis::cmd("EVAL").arg(IF_THERE).arg(1).arg(key).arg(FIELD).arg(price).query_async(connection).await;
    set.with_context(|| format!("plant into {key}"))
}
