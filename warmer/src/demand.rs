//! What is asked for: order lines and, where the gateway publishes them, views. From it the warmer learns the shop's hours,
//! and is graded.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockstep_process::Shutdown;
use lockstep_process::clock::now_micros;
use lockstep_process::config::KafkaConfig;
use lockstep_process::retry::Pauses;
use lockstep_schemas::registry::LiveRegistry;
use lockstep_schemas::tail::{self, Begin};
use lockstep_schemas::topics;
use lockstep_schemas::views::ViewEvent;
use rdkafka::Message as _;
use rdkafka::error::KafkaError;

use self::grade::Grade;
use self::hours::Hours;
use crate::forecast::hour::Hour;
use crate::forecast::log::{Line, Log};
use crate::forecast::state::Place;

pub(crate) mod grade;
pub(crate) mod hours;

/// Names asked for between two looks of whoever wants to know them, at most.
const FRESH_MAX: usize = 50_000;
/// Orders reach us so late, at most; an hour is graded only then.
const LATE: Duration = Duration::from_secs(30);
/// Orders that are older than this by the clock are no live ones: time is then what they say.
const LIVE_HOURS: i64 = 2;
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Where an ask was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// An order line.
    Lines,
    /// A view event.
    Views,
}

/// All that is known of what is asked for.
pub(crate) struct Demand {
    pub hours: Hours,
    pub grade: Grade,
    /// Asked for since this was taken last.
    fresh: HashSet<String>,
    /// The log has been read to its end: what comes from now on is new.
    is_live: bool,
    /// All orders before this hour have been read.
    settled: Option<Hour>,
}

impl Demand {
    /// What is asked for now and no set was fixed for yet is not graded.
    fn asked(&mut self, source: Source, product: String, hour: Hour, count: u32) {
        self.hours.asked(hour, count.into());
        self.grade.asked(source, &product, hour, count, self.is_live);
        if self.fresh.len() < FRESH_MAX {
            self.fresh.insert(product);
        }
    }

    /// What was asked for since this was called last.
    pub fn take_fresh(&mut self) -> HashSet<String> {
        std::mem::take(&mut self.fresh)
    }

    /// The hour that it is for the shop; `None` while its past is still being read.
    pub fn now(&self) -> Option<Hour> {
        self.is_live.then(|| shop_hour(self.hours.newest(), now_micros()))
    }

    /// The hour before which every hour has all its orders. Partitions are not read in step: where no clock tells, an hour
    /// is over once an order of a later one has come and all that lay in the log by then has been read.
    pub fn over(&self) -> Option<Hour> {
        let late = i64::try_from(LATE.as_micros()).unwrap_or(i64::MAX);
        let clock = Hour::of_micros(now_micros() - late);
        let is_played = shop_hour(self.hours.newest(), now_micros()) != Hour::of_micros(now_micros());
        if is_played { self.settled } else { self.settled.map(|_| clock) }
    }

    /// All that lay in the log has been read, when the newest order was of this hour.
    fn settle(&mut self, newest: Option<Hour>) {
        self.settled = newest.or(self.settled);
        if !std::mem::replace(&mut self.is_live, true) {
            tracing::info!("the warmer knows the shop's hours");
        }
    }
}

/// By the clock where orders are live, by the newest of them where they are not: a trace may be played at any time.
fn shop_hour(newest: Option<Hour>, now_micros: i64) -> Hour {
    let clock = Hour::of_micros(now_micros);
    newest.filter(|newest| clock.since(*newest).abs() > LIVE_HOURS).unwrap_or(clock)
}

/// The same, shared between who reads and who decides.
#[derive(Clone)]
pub(crate) struct Asked(Arc<Mutex<Demand>>);

impl Asked {
    /// Nothing yet; the shadow holds so many.
    pub fn new(members: usize) -> Self {
        let demand = Demand {
            hours: Hours::default(),
            grade: Grade::new(members),
            fresh: HashSet::new(),
            is_live: false,
            settled: None,
        };
        Asked(Arc::new(Mutex::new(demand)))
    }

    pub fn lock(&self) -> MutexGuard<'_, Demand> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads order lines until shutdown: first what the log still holds, a week, then what comes.
    pub async fn follow_lines(self, kafka: KafkaConfig, partitions: u32, registry: LiveRegistry, shutdown: Shutdown) {
        let (mut places, mut pauses) = (Vec::new(), Pauses::default());
        loop {
            let failed = tokio::select! {
                failed = self.read_lines(&kafka, partitions, &registry, &mut places) => failed,
                () = shutdown.cancelled() => return,
            };
            if let Err(error) = failed {
                tracing::warn!(topic = "lockstep.sales", %error, "a topic can't be read; trying again");
            }
            if !pauses.wait(&shutdown).await {
                return;
            }
        }
    }

    async fn read_lines(
        &self,
        kafka: &KafkaConfig,
        partitions: u32,
        registry: &LiveRegistry,
        places: &mut Vec<Place>,
    ) -> Result<(), KafkaError> {
        let mut log = Log::open(kafka, "warmer-sales", partitions, places.clone(), registry.clone()).await?;
        let failed = self.read_on(&mut log).await;
        places.clear();
        places.extend_from_slice(log.places());
        failed
    }

    async fn read_on(&self, log: &mut Log) -> Result<(), KafkaError> {
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The ends are known from the opening; `asked`: up to which order all is to have been read by them.
        let (mut fresh, mut asked) = (false, Some(None::<Hour>));
        loop {
            tokio::select! {
                record = log.recv() => {
                    let line = match record {
                        Ok(record) => log.line(record).await,
                        Err(error) => return Err(error),
                    };
                    fresh = true;
                    if let Some(Line { product, hour }) = line {
                        self.lock().asked(Source::Lines, product, hour, 1);
                    }
                }
                _ = look.tick() => {
                    if asked.is_none() && std::mem::take(&mut fresh) {
                        let newest = self.lock().hours.newest();
                        log.ask_ends().await?;
                        asked = Some(newest);
                    }
                    if log.caught_up() && let Some(newest) = asked.take() {
                        self.lock().settle(newest);
                    }
                }
            }
        }
    }

    /// Reads view events until shutdown, from now on.
    pub async fn follow_views(self, kafka: KafkaConfig, shutdown: Shutdown) {
        let take = |message: rdkafka::message::OwnedMessage| {
            if let Some(event) = ViewEvent::from_json(message.payload().unwrap_or_default()) {
                let hour = Hour::of_micros(event.at.min(now_micros()));
                self.lock().asked(Source::Views, event.product, hour, event.weight);
            }
        };
        tail::follow(kafka, "warmer-views", topics::VIEWS, Begin::Newest, shutdown, take).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shops_time_is_the_clocks_where_orders_are_live() {
        let at = |hour: i64| Hour::new(hour).micros() + 1;
        for (newest, clock, expected) in
            [(None, 9, 9), (Some(9), 9, 9), (Some(8), 10, 10), (Some(3), 10, 3), (Some(20), 9, 20)]
        {
            assert_eq!(shop_hour(newest.map(Hour::new), at(clock)), Hour::new(expected), "{newest:?} {clock}");
        }
    }
}
