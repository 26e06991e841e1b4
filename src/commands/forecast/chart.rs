//! An evaluation as a chart: each day's mean coverage by the largest set, a line a model.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lockstep_warmer::forecast::evaluate::Coverage;
use lockstep_warmer::forecast::hour::Hour;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 40.0;
/// Told apart also by who sees no red or no green.
const COLOURS: [&str; 4] = ["#0072b2", "#999999", "#e69f00", "#cc79a7"];
const DAY_HOURS: i64 = 24;

/// A whole SVG document.
pub(super) fn svg(results: &[Coverage]) -> String {
    let k = results.iter().map(|coverage| coverage.k).max().unwrap_or_default();
    let series: Vec<(&Coverage, BTreeMap<i64, f64>)> =
        results.iter().filter(|coverage| coverage.k == k).map(|coverage| (coverage, days(coverage))).collect();
    let all = || series.iter().flat_map(|(_, days)| days.iter());
    let (first, last) = (all().map(|day| *day.0).min().unwrap_or(0), all().map(|day| *day.0).max().unwrap_or(0));
    let floor = (all().map(|day| *day.1).fold(1.0, f64::min) * 10.0).floor() / 10.0;
    let scale = Scale { first: first as f64, days: ((last - first) as f64).max(1.0), floor: floor.min(0.9) };
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">Order lines covered by a warmed set of {k}, mean of each day's hours</text>\n"
    );
    axes(&mut text, &scale, first, last);
    for (at, (coverage, days)) in series.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let points: Vec<String> =
            days.iter().map(|(day, mean)| format!("{:.1},{:.1}", scale.x(*day as f64), scale.y(*mean))).collect();
        let (x, y) = (WIDTH - RIGHT + 12.0, TOP + 16.0 + 20.0 * at as f64);
        let mean = coverage.mean().unwrap_or_default() * 100.0;
        // Writing to a string can't fail, here and below.
        let _ = write!(
            text,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>\n\
             <text x=\"{x}\" y=\"{y}\" fill=\"{colour}\">{} {mean:.1} %</text>\n",
            points.join(" "),
            coverage.model
        );
    }
    text.push_str("</svg>");
    text
}

fn axes(text: &mut String, scale: &Scale, first: i64, last: i64) {
    let (mut share, end) = (scale.floor, WIDTH - RIGHT);
    while share <= 1.0 + 1e-9 {
        let (y, percent) = (scale.y(share), share * 100.0);
        let _ = write!(
            text,
            "<line x1=\"{LEFT}\" x2=\"{end}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{percent:.0} %</text>\n",
            LEFT - 6.0,
            y + 4.0
        );
        share += 0.1;
    }
    for (day, x, anchor) in [(first, LEFT, "start"), (last, end, "end")] {
        let (y, date) = (HEIGHT - BOTTOM + 20.0, date(day));
        let _ = writeln!(text, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{date}</text>");
    }
}

struct Scale {
    first: f64,
    days: f64,
    floor: f64,
}

impl Scale {
    fn x(&self, day: f64) -> f64 {
        LEFT + (day - self.first) / self.days * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, share: f64) -> f64 {
        TOP + (1.0 - share) / (1.0 - self.floor) * (HEIGHT - TOP - BOTTOM)
    }
}

/// The mean of each day's hours, by the day since 1970.
fn days(coverage: &Coverage) -> BTreeMap<i64, f64> {
    let mut sums: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for (hour, lines, covered) in &coverage.hours {
        let day = sums.entry(hour.get().div_euclid(DAY_HOURS)).or_default();
        *day = (day.0 + *covered as f64 / *lines as f64, day.1 + 1.0);
    }
    sums.into_iter().map(|(day, (sum, hours))| (day, sum / hours)).collect()
}

fn date(day: i64) -> String {
    let at = Timestamp::from_microsecond(Hour::new(day * DAY_HOURS).micros()).unwrap_or_default();
    TimeZone::UTC.to_datetime(at).date().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_has_a_line_within_the_frame() {
        let hours = vec![(Hour::new(24_000), 20, 10), (Hour::new(24_030), 20, 20)];
        let coverage = |model, k| Coverage { model, k, hours: hours.clone() };
        let chart = svg(&[coverage("chosen", 10), coverage("chosen", 20), coverage("all-time", 20)]);
        assert!(chart.starts_with("<svg") && chart.ends_with("</svg>"));
        assert_eq!(chart.matches("points=\"56.0,380.0 810.0,44.0\"").count(), 2, "{chart}");
        assert!(chart.contains("set of 20") && chart.contains("chosen 75.0 %") && chart.contains("1972-09-27"));
    }
}
