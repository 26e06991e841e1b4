//! The read path of each kind of thing: which tiers are asked, and what is said where they are behind.

use std::sync::Arc;

use lockstep_process::clock::now_micros;
use lockstep_schemas::entry::{Kinds, LoadError};
use lockstep_schemas::policy::{OnBehind, TierName, View};
use lockstep_schemas::switched::Switched;
use lockstep_tiers::{Answer, AnsweredBy, Kept, Tiers};

use crate::behind::behind;
use crate::hot::HotSet;

/// An answer, and whether its tier was behind the bound that the policy sets.
pub(crate) struct Given {
    pub answer: Answer,
    pub behind: Option<OnBehind>,
}

/// What a product is read from.
pub(crate) struct Products {
    pub all: Arc<View>,
    pub hot: Arc<View>,
    pub page: Arc<View>,
    pub kinds: Kinds,
    pub hot_set: HotSet,
    pub switched: Switched,
}

/// What is one customer's own: a cart, a profile.
pub(crate) struct Own {
    pub view: Arc<View>,
    pub kinds: Kinds,
    pub switched: Switched,
}

impl Products {
    pub async fn read(&self, tiers: &Tiers, product: &str) -> Result<Given, LoadError> {
        // What goes through a view that an operator has readers pass by is passed by with it.
        if self.switched.bypasses(&self.all.name) {
            return past(tiers, &self.all, product).await;
        }
        if !self.hot_set.contains(product) || self.switched.bypasses(&self.hot.name) {
            return read(tiers, &self.all, product).await;
        }
        let answer = tiers.get_through(&self.hot, &self.all, product).await?;
        let view = if answer.by == AnsweredBy::Tier(TierName::L1) { &self.hot } else { &self.all };
        match judged(tiers, view, answer).await {
            Judged::Good(given) => Ok(given),
            // L2 may have come further.
            Judged::Past if view.tier == TierName::L1 => {
                let given = read(tiers, &self.all, product).await?;
                Ok(Given { behind: Some(given.behind.unwrap_or(OnBehind::Bypass)), ..given })
            }
            Judged::Past => past(tiers, view, product).await,
        }
    }
}

impl Own {
    pub async fn read(&self, tiers: &Tiers, user: &str) -> Result<Given, LoadError> {
        if self.switched.bypasses(&self.view.name) {
            return past(tiers, &self.view, user).await;
        }
        read(tiers, &self.view, user).await
    }
}

enum Judged {
    Good(Given),
    Past,
}

async fn read(tiers: &Tiers, view: &View, entity: &str) -> Result<Given, LoadError> {
    let answer = tiers.get(view, entity).await?;
    match judged(tiers, view, answer).await {
        Judged::Good(given) => Ok(given),
        Judged::Past => past(tiers, view, entity).await,
    }
}

async fn judged(tiers: &Tiers, view: &View, answer: Answer) -> Judged {
    if let Some(mark) = &answer.mark
        && tiers.is_later(mark).await
    {
        return Judged::Past;
    }
    match behind(&answer, view, now_micros()) {
        Some(OnBehind::Bypass) => Judged::Past,
        behind => Judged::Good(Given { answer, behind }),
    }
}

/// What the database says now. No tier gets it: an entry says how far its tier has come.
async fn past(tiers: &Tiers, view: &View, entity: &str) -> Result<Given, LoadError> {
    let loaded = tiers.loader.load(view, &[entity.to_owned()]).await?.pop();
    let fields = loaded.and_then(|loaded| loaded.fields);
    let answer = Answer { by: AnsweredBy::Database, asked: vec![view.tier], fields, mark: None, kept: Kept::No };
    Ok(Given { answer, behind: Some(OnBehind::Bypass) })
}
