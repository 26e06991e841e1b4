use proptest::prelude::*;

use super::*;
use crate::forecast::bank::HALF_LIVES;
use crate::forecast::cut::top;
use crate::forecast::ewma::Ewma;

const START: i64 = 350_000;

fn every_way() -> impl Iterator<Item = Way> {
    let terms = || std::iter::once(None).chain((0..TERMS.len()).map(Some));
    (0..HALF_LIVES.len()).flat_map(move |half_life| terms().map(move |term| Way { half_life, term }))
}

/// Scores of a way by product, those that are not zero.
fn scores(forecast: &mut Forecast, way: Way, hour: Hour) -> Vec<(String, u64)> {
    let column = forecast.expect(way, hour).to_vec();
    let scored = column.iter().enumerate().filter(|(_, score)| **score > 0.0);
    let mut named: Vec<_> =
        scored.map(|(number, score)| (forecast.products().name(number).to_string(), score.to_bits())).collect();
    named.sort_unstable();
    named
}

fn play(lines: &[(i64, u8)], end: Hour) -> Forecast {
    let mut forecast = Forecast::new(&[3]);
    for (hour, product) in lines {
        forecast.advance(Hour::new(START + hour));
        forecast.sold(&product.to_string(), Hour::new(START + hour));
    }
    forecast.advance(end);
    forecast
}

#[test]
fn a_steady_seller_is_expected_as_it_sells() {
    let mut ewma = Ewma::new(12);
    for hour in 0..2_000 {
        ewma.fold(Hour::new(START + hour), &[Sold { product: 0, lines: 3 }]);
    }
    let mut out = Vec::new();
    ewma.expect(Hour::new(START + 2_000), 1, &mut out);
    assert!((out[0] - 3.0).abs() < 1e-9, "{out:?}");
}

#[test]
fn a_late_line_counts_by_its_own_hour() {
    let lines: Vec<(i64, u8)> = (0..30).map(|hour| (hour, (hour % 4) as u8)).collect();
    let mut on_time = play(&[&lines[..3], &[(2, 9)], &lines[3..]].concat(), Hour::new(START + 40));
    let mut late = play(&lines, Hour::new(START + 40));
    late.sold("9", Hour::new(START + 2));
    late.advance(Hour::new(START + 41));
    on_time.advance(Hour::new(START + 41));
    for way in every_way() {
        let [on_time, late] = [&mut on_time, &mut late].map(|forecast| scores(forecast, way, Hour::new(START + 41)));
        assert_eq!(late, on_time, "{}", way.name());
    }
}

#[test]
fn terms_are_chosen_only_while_they_win() {
    let mut chooser = Chooser::default();
    assert_eq!(chooser.chosen(), Way { half_life: 4, term: None });
    let mut covered = [10; WAYS];
    covered[2] = 12;
    covered[HALF_LIVES.len()] = 12;
    chooser.judge(Hour::new(START), &covered);
    assert_eq!(chooser.chosen(), Way { half_life: 2, term: None }, "no better is no reason");
    covered[HALF_LIVES.len()] = 20;
    chooser.judge(Hour::new(START + 1), &covered);
    assert_eq!(chooser.chosen().name(), "ewma-12h+trend");
    covered[HALF_LIVES.len()] = 0;
    chooser.judge(Hour::new(START + 2), &covered);
    assert_eq!(chooser.chosen().name(), "ewma-12h");
}

/// The best of a way, by name.
fn best(forecast: &mut Forecast, way: Way, hour: Hour, k: usize) -> Vec<String> {
    let column = forecast.expect(way, hour).to_vec();
    let best = top(&column, k, &mut Vec::new());
    best.into_iter().map(|number| forecast.products().name(number).to_string()).collect()
}

#[test]
fn what_has_not_sold_for_two_years_is_forgotten_and_no_set_changes() {
    const YEARS: i64 = 104 * 168;
    let mut forecast = Forecast::new(&[3]);
    forecast.sold("once", Hour::new(START));
    forecast.sold_many(Hour::new(START), Lines::from([("often".into(), 4)]));
    let is_known = |forecast: &Forecast, product: &str| forecast.products().number(product).is_some();
    for hour in 0..YEARS + 9 * 168 {
        forecast.sold(&format!("P{}", hour % 10), Hour::new(START + hour));
        let mut unforgetting = ((START + hour) % WEEK_HOURS == 0).then(|| forecast.clone());
        let before = forecast.products().len();
        forecast.advance(Hour::new(START + hour));
        if hour == YEARS - 168 {
            assert!(is_known(&forecast, "once"), "it has sold within two years");
        }
        if forecast.products().len() < before {
            let unforgetting = unforgetting.as_mut().expect("a week begins");
            unforgetting.looked_through = i64::MAX;
            unforgetting.advance(Hour::new(START + hour));
            assert_eq!(unforgetting.products().len(), before);
            for way in every_way() {
                let [ours, all] = [&mut forecast, &mut *unforgetting]
                    .map(|forecast| best(forecast, way, Hour::new(START + hour), 3 * KEPT_FOR_A_PLACE));
                assert_eq!(ours, all, "{}", way.name());
            }
        }
        if hour == YEARS + 168 {
            assert!(!is_known(&forecast, "once") && is_known(&forecast, "often"), "more lines are known for longer");
            assert!(forecast.touched.banks.contains("once"), "what is kept of it has to go");
        }
    }
    assert_eq!((forecast.products().len(), forecast.bank.products()), (10, 10));
    let end = Hour::new(START + YEARS + 9 * 168);
    forecast.sold("once", end);
    forecast.advance(end.plus(3));
    let number = forecast.products().number("once").expect("it is sold again");
    assert_eq!((number, forecast.bank.first(number)), (10, end), "as a new one");
}

#[test]
fn of_few_products_none_is_forgotten() {
    let mut forecast = Forecast::new(&[3]);
    for product in 0..6 {
        forecast.sold(&product.to_string(), Hour::new(START + product / 5 * 40_000));
    }
    forecast.advance(Hour::new(START + 60_000));
    assert_eq!(forecast.products().len(), 6, "all of them are published, however old");
}

proptest! {
    /// What makes it safe to forget by the longest half-life alone.
    #[test]
    fn what_is_light_by_the_longest_half_life_is_lighter_by_all_others(
        lines in prop::collection::vec((16_000_i64..60_000, 1_u32..20), 1..9),
    ) {
        let weight = |half_life: i64| -> f64 {
            lines.iter().map(|(age, count)| f64::from(*count) * (-(*age as f64) / half_life as f64).exp2()).sum()
        };
        prop_assume!(weight(672) < (-26.0_f64).exp2());
        for half_life in HALF_LIVES {
            let two_years_ago = (-17_472.0 / half_life as f64).exp2();
            prop_assert!(weight(half_life) <= two_years_ago, "{half_life}");
        }
    }

    #[test]
    fn decay_is_exact_however_lazy(
        lines in prop::collection::vec((0_i64..3_000, 1_u32..50), 1..40),
        half_life in prop::sample::select(HALF_LIVES.to_vec()),
    ) {
        let mut sorted = lines.clone();
        sorted.sort_unstable();
        let mut lazy = Ewma::new(half_life);
        for (hour, lines) in &sorted {
            lazy.fold(Hour::new(START + hour), &[Sold { product: 0, lines: *lines }]);
        }
        let (end, rate) = (3_000, (1.0 / half_life as f64).exp2() - 1.0);
        let exact: f64 =
            sorted.iter().map(|(hour, lines)| f64::from(*lines) * rate * (-((end - hour) as f64) / half_life as f64).exp2()).sum();
        let mut out = Vec::new();
        lazy.expect(Hour::new(START + end), 1, &mut out);
        // What is more than 1,074 doublings older than the newest possible weight is nought, be it 1e-162 in truth.
        prop_assert!((out[0] - exact).abs() <= exact * 1e-12 + 1e-150, "{} {}", out[0], exact);
    }

    #[test]
    fn the_order_within_an_hour_does_not_matter(
        mut lines in prop::collection::vec((0_i64..60, 0_u8..12), 1..200),
        seed: u64,
    ) {
        lines.sort_by_key(|(hour, _)| *hour);
        let mut shuffled = lines.clone();
        fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
        shuffled.sort_by_key(|(hour, _)| *hour);
        let end = Hour::new(START + 61);
        let (mut one, mut other) = (play(&lines, end), play(&shuffled, end));
        prop_assert_eq!(&one.choosers, &other.choosers);
        for way in every_way() {
            prop_assert_eq!(scores(&mut one, way, end), scores(&mut other, way, end));
        }
    }

    #[test]
    fn a_score_is_a_number_whatever_comes(
        lines in prop::collection::vec((prop_oneof![-50_i64..50, any::<i64>()], 0_u8..5, any::<u32>()), 0..40),
        asked in prop_oneof![-100_i64..100_000, any::<i64>()],
    ) {
        let mut forecast = Forecast::new(&[2, 4]);
        for (hour, product, count) in lines {
            forecast.sold_many(Hour::new(hour), Lines::from([(product.to_string().into(), count)]));
            forecast.advance(Hour::new(hour));
        }
        for way in every_way() {
            for score in forecast.with_all_lines().expect(way, Hour::new(asked)) {
                prop_assert!(score.is_finite() && *score >= 0.0, "{} of {}", score, way.name());
            }
        }
    }
}
