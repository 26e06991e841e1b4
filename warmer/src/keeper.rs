//! Keeps the hot set: chooses it, announces it, fills what is missing of it, lets go what left it, and says how good it was.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use lockstep_process::Shutdown;
use lockstep_process::clock::now_micros;
use lockstep_schemas::grade::{ASKED_MIN, GradeState, Graded};
use lockstep_schemas::policy::{HotSet, View};
use lockstep_schemas::state_publisher::StatePublisher;
use lockstep_schemas::topics;
use lockstep_source::loader::Loader;
use rdkafka::error::KafkaError;
use tokio::time::Instant;

use crate::demand::grade::Ranked;
use crate::demand::hours::Phase;
use crate::demand::{Asked, Source};
use crate::fill::{Filled, Filler, Halted};
use crate::forecast::INTERVAL;
use crate::incoming::Incoming;
use crate::members::Members;
use crate::metrics::WarmerMetrics;
use crate::pages::Pages;
use crate::refused::Refusal;

/// Every member is looked at this often, also those that stayed: products are deleted, entries are evicted. What the
/// catalogue did not have is then given another look too. In busy hours less often: readers keep alive what they read.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
const LOOK_INTERVAL_BUSY: Duration = Duration::from_secs(240);
/// A set is announced when its new members are filled, or after so long: readers fill the others.
const ANNOUNCE_WAIT_MAX: Duration = INTERVAL;
/// Products that the catalogue does not have are replaced by the next ones, which may be as unknown: so often.
const CHOICES_MAX: usize = 3;
/// The catalogue is counted this often, where the set is a share of it.
const COUNT_INTERVAL: Duration = Duration::from_secs(600);
/// Products of which a word was said that the catalogue does not have them: so many are remembered.
const TOLD_MAX: usize = 10_000;
/// What is done beside looking at members, letting entries go and asking for pages, has so long of a round each; the rest
/// is the next round's, so that new scores wait for seconds at most.
const BESIDE_WAIT_MAX: Duration = Duration::from_secs(2);
/// The warmer says this often how it does.
const TELL_INTERVAL: Duration = Duration::from_secs(30);

pub(crate) struct Keeper {
    pub hot_set: HotSet,
    pub bytes_max: Option<u64>,
    pub view: Arc<View>,
    pub beneath: Arc<View>,
    pub loader: Loader,
    pub filler: Filler,
    pub pages: Option<Pages>,
    pub publisher: StatePublisher,
    pub incoming: Arc<Incoming>,
    pub asked: Asked,
    pub members: Members,
    pub metrics: WarmerMetrics,
    pub shutdown: Shutdown,
    /// The set as it was announced.
    pub hot: Vec<String>,
    pub progress: Progress,
}

/// Where it stands.
pub(crate) struct Progress {
    began: Instant,
    /// What the catalogue did not have.
    unknown: HashSet<String>,
    /// The same, and of which score a word was said: it is looked for again now and then, and that is no news.
    told_unknown: HashMap<String, i64>,
    /// Whose pages have been asked for lately.
    pages: HashSet<String>,
    phase: Phase,
    halted: Option<Halted>,
    catalogue: Option<(Instant, u64)>,
    looked: Instant,
    told: Option<Instant>,
    low: bool,
    wasted_bytes: u64,
}

impl Progress {
    pub fn new() -> Self {
        let now = Instant::now();
        Progress {
            began: now,
            unknown: HashSet::new(),
            told_unknown: HashMap::new(),
            pages: HashSet::new(),
            phase: Phase::Calm,
            halted: None,
            catalogue: None,
            looked: now,
            told: None,
            low: false,
            wasted_bytes: 0,
        }
    }
}

impl Keeper {
    /// Chooses the set, fills who is new in it, announces it, and parks a word of what could not be used. Where nothing can
    /// be used, the set as it was announced stays, and is kept warm.
    pub async fn choose(&mut self) -> Result<(), KafkaError> {
        let size = self.size().await;
        let until = Instant::now() + ANNOUNCE_WAIT_MAX;
        let mut ranked = self.ranked(size);
        for _ in 0..CHOICES_MAX {
            if ranked.is_empty() {
                break;
            }
            self.members.choose(&ranked[..self.fitting(&ranked, size)], self.progress.began.elapsed());
            let unknown = self.progress.unknown.len();
            self.look(Duration::MAX, until).await;
            if self.progress.unknown.len() == unknown {
                break;
            }
            ranked = self.ranked(size);
        }
        let count = self.fitting(&ranked, size);
        let chosen = if count > 0 { &ranked[..count] } else { &as_ranked(&self.hot) };
        self.members.choose(chosen, self.progress.began.elapsed());
        let hottest: Vec<String> = ranked[..count].iter().map(|(product, _)| product.clone()).collect();
        if !hottest.is_empty() {
            self.fix(&ranked, count);
            self.announce(hottest).await?;
        }
        self.park().await
    }

    async fn announce(&mut self, hottest: Vec<String>) -> Result<(), KafkaError> {
        let (new, old): (HashSet<&String>, HashSet<&String>) = (hottest.iter().collect(), self.hot.iter().collect());
        if new == old {
            return Ok(());
        }
        let value = serde_json::to_vec(&hottest).unwrap_or_default();
        self.publisher.publish(topics::HOT, self.view.name.as_bytes(), &value).await?;
        let entered = new.difference(&old).count();
        tracing::info!(members = hottest.len(), entered, filled = self.metrics.filled.get(), "the hot set changed");
        self.hot = hottest;
        Ok(())
    }

    /// From here on the set counts for the hours to come.
    fn fix(&self, ranked: &[(String, f64)], count: usize) {
        let mut demand = self.asked.lock();
        if let Some(now) = demand.now() {
            let names = ranked.iter().map(|(product, _)| Arc::from(product.as_str()));
            demand.grade.set(now, Ranked::new(names, count));
        }
    }

    fn ranked(&self, size: usize) -> Vec<(String, f64)> {
        // Beyond the set, for those that turn out not to fit or not to be, and to tell how far a larger set would reach.
        self.incoming.lock().0.hottest(self.hot_set.scores_max().max(size), &self.progress.unknown)
    }

    fn fitting(&self, ranked: &[(String, f64)], size: usize) -> usize {
        let some = &ranked[..size.min(ranked.len())];
        self.bytes_max.map_or(some.len(), |bytes_max| self.members.fitting(some, bytes_max))
    }

    /// How many members the policy means now.
    async fn size(&mut self) -> usize {
        let measured = match self.hot_set {
            HotSet::Top(members) => return members,
            HotSet::Share(percent) => {
                let share = |count: u64| usize::try_from(count * u64::from(percent) / 100).unwrap_or(usize::MAX);
                self.catalogue().await.map(share)
            }
            HotSet::Covering(percent) => {
                self.asked.lock().grade.fewest_covering(percent, u32::try_from(ASKED_MIN).unwrap_or(u32::MAX))
            }
        };
        measured.unwrap_or(self.hot_set.choice_size()).clamp(1, self.hot_set.members_max())
    }

    async fn catalogue(&mut self) -> Option<u64> {
        if self.progress.catalogue.is_none_or(|(at, _)| at.elapsed() >= COUNT_INTERVAL) {
            match self.loader.count(&self.beneath).await {
                Ok(count) => self.progress.catalogue = Some((Instant::now(), count)),
                Err(error) => tracing::debug!(%error, "the catalogue was not counted"),
            }
        }
        self.progress.catalogue.map(|(_, count)| count)
    }

    /// What is to be done once a second: what nobody has looked at for a while, who has left, pages, and a word about itself.
    pub async fn tend(&mut self) -> Result<(), KafkaError> {
        self.hear();
        let until = Instant::now() + INTERVAL;
        let busy = self.progress.phase == Phase::Busy;
        self.look(if busy { LOOK_INTERVAL_BUSY } else { LOOK_INTERVAL }, until).await;
        self.let_go(Instant::now() + BESIDE_WAIT_MAX).await;
        if self.progress.looked.elapsed() >= LOOK_INTERVAL {
            self.progress.looked = Instant::now();
            self.progress.unknown.clear();
            self.progress.pages.clear();
            self.members.forget_some();
        }
        self.warm_pages(Instant::now() + BESIDE_WAIT_MAX).await;
        self.tell().await
    }

    /// Lets go of what has left the set, until nothing is left, or `until`, or the warmer has to stop.
    async fn let_go(&mut self, until: Instant) {
        for product in self.members.left(self.progress.began.elapsed()) {
            if self.shutdown.is_cancelled() || !self.filler.turn(until).await {
                return;
            }
            self.filler.let_go(&product).await;
            self.members.let_go(&product);
            self.metrics.let_go.inc();
        }
    }

    /// What was asked for, and what hour it is.
    fn hear(&mut self) {
        let (fresh, now) = {
            let mut demand = self.asked.lock();
            let phase = demand.now().map(|now| demand.hours.phase(now));
            (demand.take_fresh(), phase)
        };
        fresh.iter().for_each(|product| self.members.asked(product));
        let Some(phase) = now.filter(|phase| *phase != self.progress.phase) else { return };
        tracing::info!(phase = phase.as_str(), "the shop's hours: the warmer's pace follows");
        self.progress.phase = phase;
        self.filler.phase(phase);
        if phase == Phase::Ahead {
            // Whatever may be missing is to be there before customers come.
            self.members.doubt();
            self.progress.looked = Instant::now().checked_sub(LOOK_INTERVAL).unwrap_or_else(Instant::now);
        }
    }

    /// Looks at members, until there is nothing to look at, or `until`, or the warmer has to stop.
    async fn look(&mut self, interval: Duration, until: Instant) {
        for product in self.members.due(self.progress.began.elapsed(), interval) {
            if self.shutdown.is_cancelled() || !self.filler.turn(until).await {
                return;
            }
            let (filled, halted) = self.filler.fill(&product).await;
            self.metrics.looked.inc();
            self.filler.loads.drain(..).for_each(|load| self.metrics.load_seconds.observe(load.as_secs_f64()));
            let now = self.progress.began.elapsed();
            match filled {
                Filled::There(bytes) => {
                    self.progress.told_unknown.remove(&product);
                    self.members.seen(&product, now, bytes, false);
                }
                Filled::Missing(bytes) => {
                    self.progress.told_unknown.remove(&product);
                    self.members.seen(&product, now, bytes, true);
                    self.metrics.filled.inc();
                    self.metrics.filled_bytes.inc_by(bytes);
                }
                Filled::NotKept => self.members.passed(&product, now),
                Filled::Absent => {
                    if self.progress.told_unknown.len() >= TOLD_MAX {
                        self.progress.told_unknown.clear();
                    }
                    let (scores, refused) = &mut *self.incoming.lock();
                    let offset = scores.offset(&product);
                    if self.progress.told_unknown.insert(product.clone(), offset) != Some(offset) {
                        refused.add(Refusal::Unknown, offset);
                    }
                    self.members.remove(&product);
                    self.progress.unknown.insert(product);
                }
                Filled::Failed => {}
            }
            self.halt(halted);
            if halted.is_some() {
                return;
            }
        }
    }

    fn halt(&mut self, halted: Option<Halted>) {
        let Some(why) = halted else {
            self.progress.halted = None;
            return;
        };
        self.metrics.halts.get_or_create(&[("why", why.as_str())]).inc();
        if self.progress.halted.replace(why) != Some(why) {
            tracing::warn!(why = why.as_str(), "warming stops for a while, and goes on slowly");
        }
    }

    /// Asks the edge for pages that it has not been asked for lately, until there are none, or `until`.
    async fn warm_pages(&mut self, until: Instant) {
        let Some(pages) = &self.pages else { return };
        for product in self.hot.iter().take(pages.count) {
            if self.progress.pages.contains(product) {
                continue;
            }
            if self.shutdown.is_cancelled() || self.progress.halted.is_some() {
                return;
            }
            if !self.filler.turn(until).await {
                return;
            }
            // One that can't be had is no reason to leave out those behind it; it is asked for again with all others.
            if pages.ask(product).await {
                self.metrics.pages.inc();
            }
            self.progress.pages.insert(product.clone());
        }
    }

    /// Grades hours that are over, and says how the set does.
    async fn tell(&mut self) -> Result<(), KafkaError> {
        let (graded, closed) = self.grade();
        let due = self.progress.told.is_none_or(|told| told.elapsed() >= TELL_INTERVAL);
        self.metrics.told(&graded);
        let wasted = std::mem::replace(&mut self.progress.wasted_bytes, graded.wasted_bytes);
        self.metrics.wasted_bytes.inc_by(graded.wasted_bytes.saturating_sub(wasted));
        let low = graded.state() == GradeState::Low;
        if low != std::mem::replace(&mut self.progress.low, low) {
            let coverage = graded.coverage.unwrap_or_default();
            if low {
                tracing::warn!(
                    coverage,
                    asked = graded.asked,
                    "the hot set covers less than 80 % of what is asked for"
                );
            } else {
                tracing::info!(coverage, "the hot set covers 80 % of what is asked for again");
            }
        }
        if closed == 0 && !due {
            return Ok(());
        }
        self.progress.told = Some(Instant::now());
        self.publisher.publish(topics::GRADE, self.view.name.as_bytes(), &graded.to_json()).await
    }

    fn grade(&self) -> (Graded, usize) {
        let mut demand = self.asked.lock();
        let closed = demand.over().map_or(0, |over| demand.grade.close(over));
        let last = demand.grade.last();
        let by = last.map(|last| if last.source == Source::Views { "views" } else { "lines" });
        let graded = Graded {
            at: now_micros(),
            members: self.hot.len() as u64,
            hour: last.map(|last| last.hour.micros()),
            by: by.map(str::to_owned),
            asked: last.map_or(0, |last| last.tally.asked),
            coverage: last.map(|last| last.coverage()),
            precision: last.map(|last| last.precision()),
            lru_hit_ratio: last.map(|last| last.lru_hit_ratio()),
            coverage_of_day: demand.grade.coverage_of_day(),
            filled_bytes: self.members.filled_bytes,
            wasted_bytes: self.members.wasted_bytes,
            phase: self.progress.phase.as_str().to_owned(),
            entries_per_second: self.filler.rate(),
            halted: self.progress.halted.map(|why| why.as_str().to_owned()),
        };
        (graded, closed)
    }

    async fn park(&self) -> Result<(), KafkaError> {
        let (words, next) = self.incoming.lock().1.take();
        if words.is_empty() {
            return Ok(());
        }
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let parked = word.parked();
            let said =
                self.publisher.publish(topics::PARKED, topics::SCORES.base_name().as_bytes(), &parked.to_json()).await;
            if let Err(error) = said {
                self.incoming.lock().1.give_back(std::iter::once(word).chain(words));
                return Err(error);
            }
            self.metrics.refused.get_or_create(&[("why", parked.reason)]).inc_by(word.count);
            tracing::warn!(reason = parked.reason, cause = %parked.cause, remedy = parked.remedy, "scores that can't be used were parked");
        }
        self.incoming.told.tell(next).await;
        Ok(())
    }
}

/// A set that was announced, best first, as if it had scores.
pub(crate) fn as_ranked(hot: &[String]) -> Vec<(String, f64)> {
    hot.iter().cloned().zip((1..).map(|rank: u32| 1.0 / f64::from(rank))).collect()
}
