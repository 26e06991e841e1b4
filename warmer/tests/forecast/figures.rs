//! What the forecast must reach on the trace.

use lockstep_warmer::forecast::baselines::NAMES;
use lockstep_warmer::forecast::evaluate::{CHOSEN, Coverage, Evaluation, Span};

use super::trace::{hour, purchases};

const SIZES: [usize; 3] = [236, 472, 1_000];

#[test]
fn two_months_of_a_real_shop() {
    let span = Span { from: hour("2011-03-01T00:00"), to: hour("2011-05-01T00:00") };
    let mut evaluation = Evaluation::new(&SIZES, span);
    for (hour, product) in purchases() {
        evaluation.sold(&product, hour);
    }
    let results = evaluation.finish();
    for Coverage { model, k, hours } in &results {
        println!("{model} at {k}: {} hours", hours.len());
    }
    assert_eq!(results.len(), (1 + NAMES.len()) * SIZES.len());
    let of = |model: &str| {
        let found = results.iter().find(|coverage| coverage.model == model && coverage.k == 1_000);
        let found = found.expect("evaluated");
        let figures = [found.mean(), found.p10(), found.weighted()].map(|figure| figure.expect("hours"));
        println!("{model} at 1,000: mean {:.4}, p10 {:.4}, by lines {:.4}", figures[0], figures[1], figures[2]);
        figures
    };
    let (chosen, all_time, fixed) = (of(CHOSEN), of("all-time"), of("ewma-7d"));
    assert!(chosen[0] >= 0.83, "mean");
    assert!(chosen[1] >= 0.74, "p10");
    assert!(chosen[0] - all_time[0] >= 0.12, "above all-time popularity");
    assert!(chosen[0] - fixed[0] >= -0.01, "choosing costs next to nothing where one half-life is right all along");
}
