//! How much of each hour's sales the forecast would have had warmed: a trace played strictly online.

use std::collections::HashMap;
use std::sync::Arc;

use super::baselines::{Baselines, NAMES};
use super::cut::Cut;
use super::hour::{Hour, Sold};
use super::online::{Forecast, covered};

/// Hours with fewer lines say too little to count.
pub const HOUR_LINES_MIN: u64 = 20;
/// The name of ours among the models.
pub const CHOSEN: &str = "chosen";

/// The span of hours that count, `from` included, `to` not.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The first.
    pub from: Hour,
    /// The one after the last.
    pub to: Hour,
}

/// How one model did with sets of one size. Coverage is a share, 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Coverage {
    /// Which model.
    pub model: &'static str,
    /// Size of the set.
    pub k: usize,
    /// Each hour that counts, its lines, and how many were covered.
    pub hours: Vec<(Hour, u64, u64)>,
}

impl Coverage {
    /// The mean over hours; none without an hour.
    pub fn mean(&self) -> Option<f64> {
        let shares = self.shares();
        (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
    }

    /// What nine of ten hours reach, between neighbours where none stands exactly there.
    pub fn p10(&self) -> Option<f64> {
        let mut shares = self.shares();
        shares.sort_unstable_by(f64::total_cmp);
        let place = 0.1 * shares.len().checked_sub(1)? as f64;
        let (below, part) = (place.floor() as usize, place.fract());
        let above = (below + 1).min(shares.len() - 1);
        Some(shares[below] + (shares[above] - shares[below]) * part)
    }

    /// The share of all lines.
    pub fn weighted(&self) -> Option<f64> {
        let (lines, covered) = self.hours.iter().fold((0, 0), |(a, b), (_, lines, covered)| (a + lines, b + covered));
        (lines > 0).then(|| covered as f64 / lines as f64)
    }

    fn shares(&self) -> Vec<f64> {
        self.hours.iter().map(|(_, lines, covered)| *covered as f64 / *lines as f64).collect()
    }
}

/// An evaluation under way: lines in order of time, then the result.
pub struct Evaluation {
    sizes: Vec<usize>,
    span: Span,
    forecast: Forecast,
    baselines: Baselines,
    hour: Option<Hour>,
    lines: HashMap<Arc<str>, u32>,
    results: Vec<Coverage>,
    room: Vec<u64>,
}

impl Evaluation {
    /// Evaluates sets of these sizes.
    pub fn new(sizes: &[usize], span: Span) -> Self {
        let models = std::iter::once(CHOSEN).chain(NAMES);
        let results = models.flat_map(|model| sizes.iter().map(move |k| Coverage { model, k: *k, hours: Vec::new() }));
        Evaluation {
            sizes: sizes.to_vec(),
            span,
            forecast: Forecast::new(sizes),
            baselines: Baselines::default(),
            hour: None,
            lines: HashMap::new(),
            results: results.collect(),
            room: Vec::new(),
        }
    }

    /// The next line of the trace, which must not be of an earlier hour than the one before.
    pub fn sold(&mut self, product: &str, hour: Hour) {
        if self.hour != Some(hour) {
            self.end_hour();
            self.hour = Some(hour);
        }
        match self.lines.get_mut(product) {
            Some(count) => *count += 1,
            None => drop(self.lines.insert(product.into(), 1)),
        }
    }

    /// Each model at each size, models in one block.
    pub fn finish(mut self) -> Vec<Coverage> {
        self.end_hour();
        self.results
    }

    /// First what was expected, then what was sold: the forecast has not seen the hour when it is asked.
    fn end_hour(&mut self) {
        let Some(hour) = self.hour else { return };
        let lines = std::mem::take(&mut self.lines);
        if hour >= self.span.to {
            return;
        }
        // Also where the hour does not count: what is learnt at once need not be kept until one does.
        self.forecast.advance(hour);
        self.baselines.advance(hour);
        let sum: u64 = lines.values().map(|count| u64::from(*count)).sum();
        if self.span.from <= hour && sum >= HOUR_LINES_MIN {
            self.measure(hour, sum, &lines);
        }
        let sold = numbered(&mut self.baselines, &lines);
        self.baselines.sold(hour, sold);
        self.forecast.sold_many(hour, lines);
    }

    fn measure(&mut self, hour: Hour, sum: u64, lines: &HashMap<Arc<str>, u32>) {
        let mut results = self.results.iter_mut();
        let known = |(name, lines): (&Arc<str>, &u32)| {
            Some(Sold { product: self.forecast.products().number(name)?, lines: *lines })
        };
        let sold: Vec<Sold> = lines.iter().filter_map(known).collect();
        for (at, k) in self.sizes.iter().enumerate() {
            let way = self.forecast.chosen(at);
            let expected = self.forecast.expect(way, hour);
            let cut = Cut::of(expected, *k, &mut self.room);
            let Some(result) = results.next() else { return };
            result.hours.push((hour, sum, covered(expected, &cut, &sold)));
        }
        let sold = numbered(&mut self.baselines, lines);
        for expected in self.baselines.expected(hour) {
            for k in &self.sizes {
                let cut = Cut::of(&expected, *k, &mut self.room);
                let Some(result) = results.next() else { return };
                result.hours.push((hour, sum, covered(&expected, &cut, &sold)));
            }
        }
    }
}

/// By the baselines' numbers; new ones are given in the order of names, so that of equals the same are chosen each time.
fn numbered(baselines: &mut Baselines, lines: &HashMap<Arc<str>, u32>) -> Vec<Sold> {
    let mut named: Vec<(&Arc<str>, &u32)> = lines.iter().collect();
    named.sort_unstable();
    named.into_iter().map(|(name, lines)| Sold { product: baselines.number(name), lines: *lines }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_that_do_not_count_are_learnt_from_and_not_kept() {
        let hour = |hour: i64| Hour::new(400_000 + hour);
        let mut evaluation = Evaluation::new(&[1], Span { from: hour(1_000), to: hour(1_001) });
        for at in 0..1_100 {
            (0..HOUR_LINES_MIN).for_each(|_| evaluation.sold("a", hour(at)));
            let kept = evaluation.forecast.open.len() + evaluation.forecast.judged.len() + evaluation.baselines.kept();
            assert!(kept < 200, "{kept} hours are kept at {at}");
        }
        let results = evaluation.finish();
        assert!(results.iter().all(|coverage| coverage.mean() == Some(1.0) && coverage.hours.len() == 1));
    }
}
