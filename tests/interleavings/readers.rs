//! Readers: each checks every answer that it gets.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use lockstep_process::Shutdown;
use lockstep_schemas::entry::{Load, Loading};
use lockstep_schemas::policy::View;
use lockstep_tiers::{AnsweredBy, Tiers};
use reqwest::{Response, StatusCode};
use serde_json::Value as Json;

use crate::chain::{PRODUCTS, USERS, product};
use crate::compare;
use crate::plain::{Found, Slot};
use crate::roles::Setting;
use crate::rows::{Row, Seen, product_rows, user_rows};
use crate::witness::{Answer, By, Witness};

/// How long a late reader is held up.
const LATE_MS_MAX: u64 = 400;

/// What all readers have.
#[derive(Clone)]
pub struct Reader {
    pub witness: Arc<Witness>,
    pub stop: Shutdown,
    pub rng: Rng,
    pub http: reqwest::Client,
    pub gateway: String,
    pub edge: String,
    /// The catalogue on L2; the catalogue and the customers on L1.
    pub slots: [Slot; 3],
}

/// Loads, and then is held up.
struct Late(Arc<dyn Load>);

impl Load for Late {
    fn load<'a>(&'a self, view: &'a View, entities: &'a [String]) -> Loading<'a> {
        Box::pin(async move {
            let loaded = self.0.load(view, entities).await;
            tokio::time::sleep(Duration::from_millis(fastrand::u64(..=LATE_MS_MAX))).await;
            loaded
        })
    }
}

impl Reader {
    async fn goes_on(&mut self, ms_max: u64) -> bool {
        tokio::time::sleep(Duration::from_millis(self.rng.u64(1..=ms_max))).await;
        !self.stop.is_cancelled()
    }

    /// Asks the gateway.
    pub async fn ask(mut self) {
        while self.goes_on(8).await {
            let n = self.rng.usize(..PRODUCTS);
            let before = self.witness.before_product(n);
            let answer = self.http.get(format!("{}/v1/product/{}", self.gateway, product(n))).send().await;
            if let Some(answer) = self.answer(n, answer.expect("an answer"), None).await {
                self.witness.check(&before, &answer);
            }
        }
    }

    /// Asks the edge. What had been purged there before is never seen again.
    pub async fn visit(mut self) {
        while self.goes_on(12).await {
            let n = self.rng.usize(..PRODUCTS);
            let purged = self.slots[0].look("none").await.purged;
            let before = self.witness.before_product(n);
            let answer = self.http.get(format!("{}/v1/product/{}", self.edge, product(n))).send().await;
            let answer = answer.expect("an answer");
            if answer.headers().get("x-cache").is_some_and(|cache| cache == "HIT") {
                self.witness.count("edge hits");
            }
            if let Some(mut answer) = self.answer(n, answer, Some(By::Edge)).await {
                answer.purged = purged;
                self.witness.check(&before, &answer);
            }
        }
    }

    async fn answer(&self, n: usize, answer: Response, by: Option<By>) -> Option<Answer> {
        let header = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
        let position = header("lockstep-position").and_then(|text| text.parse().ok());
        let by = by.or(match header("lockstep-tier").as_deref() {
            Some("l1") => Some(By::L1),
            Some("l2") => Some(By::L2),
            _ => Some(By::Database),
        })?;
        let status = answer.status();
        let body: Json = answer.json().await.expect("JSON");
        let fields = compare::fields_of(&body);
        let rows = match status {
            StatusCode::OK => product_rows(n, Some(&fields)),
            StatusCode::NOT_FOUND => product_rows(n, None),
            // A read that waited for a truncate, longer than an answer may take.
            StatusCode::SERVICE_UNAVAILABLE => {
                self.witness.count("no answer in time");
                return None;
            }
            other => panic!("{other}: {body}"),
        };
        Some(Answer { by, rows, position, purged: None })
    }

    /// Reads entries plainly.
    pub async fn look(mut self) {
        while self.goes_on(6).await {
            let (n, user) = (self.rng.usize(..PRODUCTS), self.rng.usize(1..=USERS));
            let (key, by, slot) = match self.rng.u8(..5) {
                0 | 1 => (format!("product:all:{}", product(n)), By::L2, 0),
                2 | 3 => (format!("product:hot:{}", product(n)), By::L1, 1),
                _ => (format!("user:{user}"), By::L1, 2),
            };
            let before = if slot == 2 { self.witness.before_user(user) } else { self.witness.before_product(n) };
            let found = self.slots[slot].look(&key).await;
            let rows_of = |fields: Option<&compare::Fields>| {
                if slot == 2 { user_rows(user, fields) } else { product_rows(n, fields) }
            };
            self.found(&before, by, &key, &found, rows_of);
        }
    }

    fn found(
        &self,
        before: &crate::witness::Before,
        by: By,
        key: &str,
        found: &Found,
        rows: impl Fn(Option<&compare::Fields>) -> Vec<(Row, Seen)>,
    ) {
        let Some(entry) = &found.entry else { return };
        if found.has_marker {
            self.witness.accuse(format!("{by:?} {key}: a marker beside a living entry"));
        }
        let answer = Answer { by, rows: rows(entry.as_ref()), position: found.position, purged: None };
        self.witness.check(before, &answer);
        self.witness.count("plain reads");
    }

    /// Reads and fills profiles.
    pub async fn profiles(mut self, setting: Arc<Setting>) {
        let view = &setting.policy.views["profile"];
        while self.goes_on(12).await {
            let n = self.rng.usize(1..=USERS);
            let before = self.witness.before_user(n);
            let got = setting.tiers.get(view, &n.to_string()).await;
            let Ok(got) = got else {
                self.witness.count("no profile");
                continue;
            };
            let fields: Option<compare::Fields> =
                got.fields.map(|fields| fields.into_iter().map(|(name, text)| (name.to_string(), text)).collect());
            let by = if got.by == AnsweredBy::Database { By::Database } else { By::L1 };
            let rows = user_rows(n, fields.as_ref());
            let position = got.mark.map(|mark| mark.position);
            self.witness.check(&before, &Answer { by, rows, position, purged: None });
        }
    }

    /// Reads and fills products, but what it has read of the database waits before it is filled: meanwhile its lease may have
    /// been taken from it, and somebody else may hold another. Of its own answers it may have been overtaken.
    pub async fn late(mut self, setting: Arc<Setting>) {
        let view = &setting.policy.views["product_all"];
        let loader = Arc::new(Late(setting.tiers.loader.clone()));
        let tiers = Tiers { loader, ..setting.tiers.clone() };
        while self.goes_on(12).await {
            let got = tiers.get(view, &product(self.rng.usize(..PRODUCTS))).await;
            self.witness.count(if got.is_ok() { "late reads" } else { "late reads without an answer" });
        }
    }

    /// Takes entries and markers away, which may vanish at any moment.
    pub async fn evict(mut self) {
        while self.goes_on(10).await {
            let n = self.rng.usize(..PRODUCTS);
            let (key, slot) = match self.rng.u8(..6) {
                0..3 => (format!("product:all:{}", product(n)), 0),
                3 | 4 => (format!("product:hot:{}", product(n)), 1),
                _ => (format!("user:{}", self.rng.usize(1..=USERS)), 2),
            };
            let marker = if self.rng.u8(..8) == 0 { ":_lease" } else { "" };
            self.slots[slot].evict(&format!("{key}{marker}")).await;
        }
    }
}
