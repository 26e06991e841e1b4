//! What is asked for: order lines and, where the gateway publishes them, views. From it the warmer learns the shop's hours,
//! and is graded.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockstep_process::Shutdown;
use lockstep_process::clock::now_micros;
use lockstep_process::config::KafkaConfig;
use lockstep_process::retry::Pauses;
use lockstep_schemas::follower::Follower;
use lockstep_schemas::hearing;
use lockstep_schemas::registry::LiveRegistry;
use lockstep_schemas::tail::Begin;
use lockstep_schemas::topics;
use lockstep_schemas::views::ViewEvent;
use rdkafka::Message as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use self::grade::Grade;
use self::hours::Hours;
use crate::forecast::hour::Hour;
use crate::forecast::log::{Line, Log, SALES};
use crate::forecast::state::Place;
use crate::shop_time::ShopTime;

pub(crate) mod grade;
pub(crate) mod hours;

/// Names asked for between two looks of whoever wants to know them, at most.
const FRESH_MAX: usize = 50_000;
/// Orders reach us so late, at most; an hour is graded only then.
const LATE: Duration = Duration::from_secs(30);
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
    time: ShopTime,
    /// Asked for since this was taken last.
    fresh: HashSet<String>,
    /// The log has been read to its end: what comes from now on is new.
    is_live: bool,
    /// All orders before this hour have been read.
    settled: Option<Hour>,
}

impl Demand {
    fn new(members: usize) -> Self {
        Demand {
            hours: Hours::default(),
            grade: Grade::new(members),
            time: ShopTime::default(),
            fresh: HashSet::new(),
            is_live: false,
            settled: None,
        }
    }

    /// What is asked for now and no set was fixed for yet is not graded.
    fn asked(&mut self, source: Source, product: String, hour: Hour, count: u32, committed_at: i64) {
        self.time.came(hour, committed_at);
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
        self.now_at(now_micros())
    }

    fn now_at(&self, now: i64) -> Option<Hour> {
        self.is_live.then(|| self.time.hour(now))
    }

    /// The hour before which every hour has all its orders. Partitions are not read in step: where no clock tells, an hour
    /// is over once an order of a later one has come and all that lay in the log by then has been read.
    pub fn over(&self) -> Option<Hour> {
        self.over_at(now_micros())
    }

    fn over_at(&self, now: i64) -> Option<Hour> {
        let late = i64::try_from(LATE.as_micros()).unwrap_or(i64::MAX);
        let clock = Hour::of_micros(now - late);
        if self.time.played(now).is_some() { self.settled } else { self.settled.map(|_| clock) }
    }

    /// All that lay in the log has been read, when the newest order was of this hour.
    fn settle(&mut self, newest: Option<Hour>) {
        self.settled = newest.or(self.settled);
        if !std::mem::replace(&mut self.is_live, true) {
            tracing::info!("the warmer knows the shop's hours");
        }
    }
}

/// The same, shared between who reads and who decides.
#[derive(Clone)]
pub(crate) struct Asked(Arc<Mutex<Demand>>);

impl Asked {
    /// Nothing yet; the shadow holds so many.
    pub fn new(members: usize) -> Self {
        Asked(Arc::new(Mutex::new(Demand::new(members))))
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
                tracing::warn!(topic = topics::of_group(&kafka, SALES), %error, "a topic can't be read; trying again");
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
        let ask = log.asker();
        let failed = tokio::select! {
            failed = self.read_on(&mut log) => failed,
            () = hearing::until_deaf(kafka, ask) => {
                Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AllBrokersDown))
            }
        };
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
                    if let Some(Line { product, hour, committed_at }) = line {
                        self.lock().asked(Source::Lines, product, hour, 1, committed_at);
                    }
                }
                _ = look.tick() => {
                    if asked.is_none() && std::mem::take(&mut fresh) {
                        let newest = self.lock().hours.newest();
                        log.ask_ends().await?;
                        asked = Some(newest);
                    }
                    if asked.is_some() && log.caught_up() && let Some(newest) = asked.take() {
                        self.lock().settle(newest);
                    }
                }
            }
        }
    }

    /// Hears of view events, from now on.
    pub fn follow_views(self, follower: &Follower) {
        follower.follow(topics::VIEWS, Begin::End, move |message| {
            if let Some(event) = ViewEvent::from_json(message.payload().unwrap_or_default()) {
                let at = event.at.min(now_micros());
                self.lock().asked(Source::Views, event.product, Hour::of_micros(at), event.weight, at);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::hours::Phase;
    use super::*;

    const MONDAY: i64 = 473_352;

    fn at(hour: i64) -> i64 {
        Hour::new(MONDAY + hour).micros() + 60_000_000
    }

    /// Two weeks that were busy from nine to five, read at a start: `committed` tells from an hour when its lines were.
    fn read(committed: impl Fn(i64) -> i64) -> Demand {
        let mut demand = Demand::new(9);
        for hour in (0..2 * 168).filter(|hour| (9..17).contains(&(hour % 24))) {
            demand.asked(Source::Lines, "P1".to_owned(), Hour::new(MONDAY + hour), 100, committed(hour));
        }
        let newest = demand.hours.newest();
        demand.settle(newest);
        demand
    }

    #[test]
    fn after_a_quiet_night_the_warmer_is_ahead_of_the_morning() {
        let demand = read(at);
        // The last line was sold before five; these are the hours of the night after it, and the morning.
        for (hour, expected) in [(17, Phase::Calm), (20, Phase::Calm), (24 + 8, Phase::Ahead), (24 + 9, Phase::Busy)] {
            let now = at(13 * 24 + hour);
            assert_eq!(demand.hours.phase(demand.now_at(now).expect("read")), expected, "{hour} o'clock");
            assert_eq!(demand.over_at(now), Some(Hour::new(MONDAY + 13 * 24 + hour)), "hours end by the clock");
        }
    }

    #[test]
    fn sales_of_long_ago_that_are_played_have_hours_of_their_own() {
        let (demand, newest) = (read(|_| at(90_000)), Hour::new(MONDAY + 13 * 24 + 16));
        assert_eq!(demand.now_at(at(90_000)), Some(newest));
        assert_eq!(demand.over_at(at(90_000)), Some(newest));
    }

    #[test]
    fn before_the_past_is_read_it_is_no_hour() {
        assert_eq!(Demand::new(9).now_at(at(0)), None);
    }
}
