//! Where every line of the demo goes. Nothing else in the demo writes to the terminal.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::fmt::Display;
use std::io::Write;
use std::time::Duration;

/// How often a progress bar is drawn anew.
const BAR_TICK: Duration = Duration::from_millis(200);

/// Lines for people, one JSON object for programs, and progress bars where somebody watches.
///
/// Bars are drawn on stderr, and only in a terminal: a pipe gets plain lines. With `json` the lines go to stderr too, so
/// that stdout carries the one object and nothing else.
pub struct Output {
    json: bool,
    bars: MultiProgress,
}

impl Output {
    /// Lines on stdout, or on stderr where stdout is kept for the JSON object.
    pub fn new(json: bool) -> Self {
        Self { json, bars: MultiProgress::new() }
    }

    /// Prints one line. A reader that went away (`| head`) is no reason to stop.
    pub fn line(&self, text: impl Display) {
        self.bars.suspend(|| {
            let _ =
                if self.json { writeln!(std::io::stderr(), "{text}") } else { writeln!(std::io::stdout(), "{text}") };
        });
    }

    /// Prints the result as one line of JSON on stdout, where it was asked for.
    pub fn result(&self, result: &serde_json::Value) {
        if self.json {
            let _ = writeln!(std::io::stdout(), "{result}");
        }
    }

    /// A progress bar over `total` steps, gone when it is finished.
    pub fn bar(&self, name: &str, total: usize) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new(total as u64));
        if let Ok(style) = ProgressStyle::with_template("  {msg:22} {bar:40} {human_pos}/{human_len}") {
            bar.set_style(style);
        }
        bar.set_message(name.to_owned());
        bar.enable_steady_tick(BAR_TICK);
        bar
    }
}

/// A count with commas: `3,912`.
pub fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A part of a whole, or none where the whole is nothing.
pub fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// A ratio in per cent: `97.3 %`, `-` where there is none.
pub fn percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.1} %", ratio * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_commas() {
        for (count, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(thousands(count), text);
        }
    }

    #[test]
    fn a_ratio_of_nothing_is_none() {
        assert_eq!(percent(ratio(0, 0)), "-");
        assert_eq!(percent(ratio(973, 1_000)), "97.3 %");
    }
}
