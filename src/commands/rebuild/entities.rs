//! A walk over all entities of a view, in the order of their keys: so many at once, so many a second.

use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use indicatif::ProgressBar;
use lockstep_process::{Failure, Shutdown};
use lockstep_schemas::policy::View;
use lockstep_source::loader::{ENTITIES_MAX, Loader};
use lockstep_tiers::{Tier, TierError};
use tokio::time::Instant;

const CALLS_AT_ONCE: usize = 128;

pub(super) struct Entities<'e> {
    pub loader: &'e Loader,
    pub tier: &'e Tier,
    pub bar: &'e ProgressBar,
    pub rate: Option<NonZeroU32>,
}

impl Entities<'_> {
    /// Calls for each entity; whoever asked takes the answers in.
    pub async fn each<T, F: Future<Output = Result<T, TierError>>>(
        &self,
        view: &View,
        shutdown: &Shutdown,
        call: impl Fn(String) -> F,
        mut take: impl FnMut(T),
    ) -> Result<(), Failure> {
        self.bar.set_position(0);
        self.bar.set_length(self.loader.count(view).await.map_err(super::away)?);
        let mut after: Option<String> = None;
        while !shutdown.is_cancelled() {
            let began = Instant::now();
            let entities = self.loader.entities(view, after.as_deref(), ENTITIES_MAX).await.map_err(super::away)?;
            let Some(last) = entities.last().cloned() else { break };
            let count = entities.len();
            let mut answers = stream::iter(entities.into_iter().map(&call)).buffer_unordered(CALLS_AT_ONCE);
            while let Some(answer) = answers.next().await {
                take(answer.map_err(|error| self.away(&error))?);
            }
            self.bar.inc(count as u64);
            after = Some(last);
            let pause = self.rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) * count as u32 / rate.get());
            shutdown.run_until_cancelled(tokio::time::sleep_until(began + pause)).await;
        }
        Ok(())
    }

    /// A tier that does not answer.
    pub fn away(&self, error: &TierError) -> Failure {
        Failure::unavailable(format!("{}: {error}", self.tier.name.as_str()))
    }
}
