//! The role `forecast`: order lines from the log, scores out, and what was learnt kept in a topic of its own.

pub mod bank;
pub mod baselines;
pub mod chooser;
pub mod cut;
pub mod evaluate;
pub mod ewma;
pub mod hour;
pub mod online;
pub mod products;
pub mod state;
pub mod terms;

mod boosts;
mod keep;
pub(crate) mod log;
mod publish;

use std::time::{Duration, Instant};

use lockstep_process::clock::now_micros;
use lockstep_process::config::{Config, KafkaConfig};
use lockstep_process::retry::Pauses;
use lockstep_process::{Failure, Metrics, Shutdown};
use lockstep_schemas::follower::Follower;
use lockstep_schemas::hearing;
use lockstep_schemas::policy::{HotSet, Policy};
use lockstep_schemas::registry::LiveRegistry;
use lockstep_schemas::tail::Begin;
use lockstep_schemas::topics;
use lockstep_schemas::views::ViewEvent;
use rdkafka::Message as _;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use self::bank::HALF_LIVES;
use self::boosts::Boosts;
use self::hour::Hour;
use self::keep::{Keep, KeepError};
use self::log::{Line, Log};
use self::online::{Forecast, Lines};
use self::publish::Publisher;
use crate::metrics::ForecastMetrics;
use crate::select::HOT_SET_DEFAULT;

/// Scores are published this often, where lines came meanwhile or the shop's hour is another.
pub const INTERVAL: Duration = Duration::from_secs(5);
/// And this often where nothing happens: whoever wrote a newer score has made all others old.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);
/// How often it is looked at whether there is anything to do.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Of two forecasts the younger one works; the other leaves it alone for so long, then takes over in its turn. Either goes
/// on from what was kept.
const STAND_BY: Duration = Duration::from_secs(60);
/// An hour is over, and judged, once a line is so many hours younger: partitions are not read in step.
const LATE_HOURS: i64 = 1;

/// Views that wait to be counted, at most; beyond, they are left out.
const VIEWS_WAITING_MAX: usize = 10_000;

/// Runs the forecast until shutdown. Whatever goes wrong, it begins again from what was kept.
pub async fn run(
    config: &Config,
    policy: &Policy,
    follower: &Follower,
    metrics: &Metrics,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    let hot_set = policy.views.values().find_map(|view| view.hot_set).unwrap_or(HotSet::Top(HOT_SET_DEFAULT));
    let size = hot_set.choice_size();
    let kafka = config.kafka()?.clone();
    let registry = LiveRegistry::follow(follower);
    let boosts = Boosts::follow(config, shutdown.clone());
    let publisher = Publisher::new(&kafka, registry.clone(), hot_set.scores_max())?;
    let views = views(follower);
    let metrics = ForecastMetrics::register(metrics);
    let mut role =
        Role { kafka, partitions: config.partitions, size, registry, boosts, publisher, views, metrics, shutdown };
    let mut pauses = Pauses::default();
    loop {
        match role.session().await {
            Ok(()) => return Ok(()),
            Err(KeepError::Fenced) => {
                tracing::warn!("another forecast has taken over; this one stands by");
                tokio::select! {
                    () = tokio::time::sleep(STAND_BY) => {}
                    () = role.shutdown.cancelled() => return Ok(()),
                }
            }
            Err(error) => {
                role.metrics.begun_again.inc();
                tracing::warn!(%error, "the forecast begins again from what was kept");
            }
        }
        if !pauses.wait(&role.shutdown).await {
            return Ok(());
        }
    }
}

struct Role {
    kafka: KafkaConfig,
    partitions: u32,
    size: usize,
    registry: LiveRegistry,
    boosts: Boosts,
    publisher: Publisher,
    views: mpsc::Receiver<ViewEvent>,
    metrics: ForecastMetrics,
    shutdown: Shutdown,
}

/// View events as they come, from now on. One that is lost between two lives of the forecast is missing for ever: a view is a
/// sample, a sale is not.
fn views(follower: &Follower) -> mpsc::Receiver<ViewEvent> {
    let (tell, views) = mpsc::channel(VIEWS_WAITING_MAX);
    follower.follow(topics::VIEWS, Begin::End, move |message| {
        if let Some(event) = ViewEvent::from_json(message.payload().unwrap_or_default()) {
            let _ = tell.try_send(event);
        }
    });
    views
}

impl Role {
    /// From the kept state to shutdown, or to what goes wrong.
    async fn session(&mut self) -> Result<(), KeepError> {
        let shutdown = self.shutdown.clone();
        let opening = async {
            // First the older writer is shut out, then its state is read: nothing can change it any more.
            let keep = Keep::open(&self.kafka).await?;
            let (forecast, places) = keep.load(&self.kafka, self.size).await?;
            let log = Log::open(&self.kafka, "forecast", self.partitions, places, self.registry.clone()).await?;
            Ok::<_, KeepError>((keep, forecast, log))
        };
        let (keep, mut forecast, mut log) = tokio::select! {
            opened = opening => opened?,
            () = shutdown.cancelled() => return Ok(()),
        };
        tracing::info!(products = forecast.products().len(), "the forecast runs");
        let kafka = self.kafka.clone();
        let deaf = hearing::until_deaf(&kafka, log.asker());
        tokio::pin!(deaf);
        let mut tick = tokio::time::interval(LOOK_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The ends are known from the opening, so that the first scores need no other question.
        let (mut fresh, mut told, mut asked) = (true, None::<(Instant, Hour)>, true);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = &mut deaf => return Err(KeepError::Deaf),
                record = log.recv() => if let Some(Line { product, hour, committed_at }) = log.line(record?).await {
                    forecast.sold(&product, hour);
                    forecast.time.came(hour, committed_at);
                    self.metrics.lines.inc();
                    fresh = true;
                },
                Some(event) = self.views.recv() => {
                    let at = event.at.min(now_micros());
                    forecast.sold_many(Hour::of_micros(at), Lines::from([(event.product.into(), event.weight)]));
                    forecast.time.came(Hour::of_micros(at), at);
                    self.metrics.views.inc_by(event.weight.into());
                    fresh = true;
                },
                _ = tick.tick() => {
                    fresh |= self.boosts.changed();
                    let hour = forecast.time.hour(now_micros());
                    if !is_due(told.map(|(told, of)| (told.elapsed(), of)), hour, fresh) {
                        continue;
                    }
                    // Partitions are not read in step, and an hour half read would be judged by half its lines.
                    if !asked {
                        asked = log.ask_ends().await.inspect_err(|error| tracing::debug!(%error, "asking for ends")).is_ok();
                    }
                    if !asked || !log.caught_up() {
                        continue;
                    }
                    (fresh, told, asked) = (false, Some((Instant::now(), hour)), false);
                    let tell = async { self.tell(&mut forecast, &keep, &log, hour).await };
                    tokio::select! {
                        done = tell => fresh |= !done?,
                        () = shutdown.cancelled() => return Ok(()),
                    }
                }
            }
        }
    }

    /// Keeps what was learnt (also where that is nothing new: a forecast that another has shut out learns of it here), then
    /// publishes what is expected of the hour after `now`; whether the scores are out.
    async fn tell(&mut self, forecast: &mut Forecast, keep: &Keep, log: &Log, now: Hour) -> Result<bool, KeepError> {
        let Some(newest) = forecast.newest() else { return Ok(true) };
        forecast.advance(newest.plus(-LATE_HOURS));
        let touched = forecast.take_touched();
        self.metrics.products.set(i64::try_from(forecast.products().len()).unwrap_or(i64::MAX));
        self.metrics.half_life_seconds.set(HALF_LIVES[forecast.chosen(0).half_life] * 3_600);
        keep.write(state::changes(forecast, &touched, log.places())).await?;
        match self.publisher.publish(forecast, now.plus(1), &self.boosts.now()).await {
            Ok(published) => {
                self.metrics.scores.inc_by(published.unwrap_or(0) as u64);
                Ok(published.is_some())
            }
            Err(error) => {
                tracing::warn!(%error, "scores were not published");
                Ok(false)
            }
        }
    }
}

/// Whether scores are to be published in the hour `now`, `told` being how long ago and in which hour they last were.
fn is_due(told: Option<(Duration, Hour)>, now: Hour, fresh: bool) -> bool {
    told.is_none_or(|(ago, hour)| ago >= REFRESH_INTERVAL || (ago >= INTERVAL && (fresh || hour != now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_come_with_lines_with_the_hour_and_at_last_by_themselves() {
        let (now, seconds) = (Hour::new(400_000), Duration::from_secs);
        let told = |ago, hours| Some((seconds(ago), now.plus(hours)));
        for (told, fresh, expected) in [
            (None, false, true),
            (told(4, 0), true, false),
            (told(5, 0), true, true),
            (told(59, 0), false, false),
            (told(60, 0), false, true),
            (told(4, -1), false, false),
            (told(5, -1), false, true),
        ] {
            assert_eq!(is_due(told, now, fresh), expected, "{told:?} {fresh}");
        }
    }
}
