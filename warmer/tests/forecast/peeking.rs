//! Nothing of what is to come is in a score: those of an hour are rebuilt exactly from a trace that ends before it.

use std::collections::BTreeMap;

use lockstep_warmer::forecast::hour::Hour;
use lockstep_warmer::forecast::online::{Forecast, LEAD_HOURS};

use super::trace::purchases;

const HOURS_LOOKED_AT: usize = 5;
const K: usize = 1_000;

type Scores = (String, BTreeMap<String, u64>);

#[test]
fn scores_are_rebuilt_from_a_trace_cut_at_their_hour() {
    let sales = purchases();
    let mut random = fastrand::Rng::with_seed(11);
    let mut hours: Vec<Hour> =
        (0..HOURS_LOOKED_AT).map(|_| sales[random.usize(sales.len() / 10..sales.len())].0).collect();
    hours.sort_unstable();
    hours.dedup();
    let whole = play(&sales, &hours);
    assert_eq!(whole.len(), hours.len());
    for (hour, (way, scores)) in whole {
        let cut: Vec<(Hour, String)> =
            sales.iter().filter(|(sold, _)| *sold < hour.plus(-LEAD_HOURS)).cloned().collect();
        let rebuilt = play(&cut, &[hour]).remove(&hour).expect("scores");
        assert!(!scores.is_empty());
        assert_eq!(rebuilt, (way, scores), "hour {hour:?}");
    }
}

/// Plays the sales and takes the scores of some hours, to the last bit. The forecast is given each hour's lines before it
/// is asked about that hour: it must leave them out by itself.
fn play(sales: &[(Hour, String)], hours: &[Hour]) -> BTreeMap<Hour, Scores> {
    let mut forecast = Forecast::new(&[K]);
    let mut taken = BTreeMap::new();
    let mut sales = sales.iter().peekable();
    for hour in hours {
        while let Some((sold, product)) = sales.next_if(|(sold, _)| sold <= hour) {
            forecast.advance(*sold);
            forecast.sold(product, *sold);
        }
        forecast.advance(*hour);
        let way = forecast.chosen(0);
        let scores = forecast.expect(way, *hour).to_vec();
        let named = scores.iter().enumerate().filter(|(_, score)| **score > 0.0);
        let named = named.map(|(number, score)| (forecast.products().name(number).to_string(), score.to_bits()));
        taken.insert(*hour, (way.name(), named.collect()));
    }
    taken
}
