//! SIGKILL between and within rounds, and in the end the scores of a forecast that was never interrupted.

use std::collections::BTreeMap;

use lockstep_warmer::forecast::hour::Hour;
use lockstep_warmer::forecast::online::Forecast;

use crate::harness::process::send;
use crate::shop::{FIRST_HOUR, Shop, WAIT_MAX, sold_in};

const HISTORY_HOURS: i64 = 60;
const ROUNDS: i64 = 3;
const HOURS_A_ROUND: i64 = 10;
const SIZE: usize = 1_000;

#[test]
fn killed_again_and_again_it_forecasts_as_if_nothing_had_happened() {
    let shop = Shop::open();
    shop.sell(0..HISTORY_HOURS);
    let mut forecast = shop.forecast();
    shop.scores("the first scores", |scores| is_of(scores, HISTORY_HOURS));
    for round in 0..ROUNDS {
        let begin = HISTORY_HOURS + round * HOURS_A_ROUND;
        shop.sell(begin..begin + HOURS_A_ROUND);
        send(forecast.pid(), libc::SIGKILL);
        assert_eq!(forecast.exit_code(WAIT_MAX), None, "it lived until it was killed");
        forecast = shop.forecast();
    }
    let hours = HISTORY_HOURS + ROUNDS * HOURS_A_ROUND;
    let (model, expected) = uninterrupted(hours);
    let scores = shop.scores("scores by every line", |scores| is_of(scores, hours) && scores.len() == expected.len());
    for (product, expected) in &expected {
        let score = scores.get(product).expect("a score of each product");
        assert_eq!(score.model, model);
        // Lines that came late are added in another order: the sums differ in their last digits at most.
        assert!((score.score - expected).abs() <= expected * 1e-9, "{product}: {} is not {expected}", score.score);
    }
    let kept = forecast.line("the state", WAIT_MAX, |line| {
        let products = line.split_once("products=")?.1.trim();
        line.contains("the forecast runs").then(|| products.parse::<usize>().expect("a count"))
    });
    assert!(kept > 0, "it began with what was kept, not cold");
    forecast.terminate();
    assert_eq!(forecast.exit_code(WAIT_MAX), Some(0));
}

fn is_of(scores: &BTreeMap<String, lockstep_schemas::scores::Score>, hours: i64) -> bool {
    scores.values().next().is_some_and(|score| score.hour == Hour::new(FIRST_HOUR + hours).micros())
}

/// The same forecast, without a process.
fn uninterrupted(hours: i64) -> (String, BTreeMap<String, f64>) {
    let mut forecast = Forecast::new(&[SIZE]);
    for hour in 0..hours {
        for product in sold_in(hour) {
            forecast.sold(&product, Hour::new(FIRST_HOUR + hour));
        }
        forecast.advance(Hour::new(FIRST_HOUR + hour - 1));
    }
    let mut all = forecast.with_all_lines();
    let way = all.chosen(0);
    let column = all.expect(way, Hour::new(FIRST_HOUR + hours)).to_vec();
    let scored = column.iter().enumerate().filter(|(_, score)| **score > 0.0);
    (way.name(), scored.map(|(number, score)| (all.products().name(number).to_string(), *score)).collect())
}
