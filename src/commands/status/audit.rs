//! What the auditor has found, as far as it has kept it.

use std::collections::BTreeMap;

use lockstep_audit::nines::{Checked, History, Window};
use lockstep_process::clock::now_micros;
use serde::Serialize;

/// How often copies were right, by window.
pub(super) type Windows = BTreeMap<&'static str, OfWindow>;

#[derive(Serialize)]
pub(super) struct OfWindow {
    #[serde(flatten)]
    checked: Checked,
    nines: Option<f64>,
}

/// By tier and view; empty where nobody audits.
pub(super) fn windows(history: &History) -> BTreeMap<String, Windows> {
    let minute = u64::try_from(now_micros()).unwrap_or(0) / 60_000_000;
    let mut all: BTreeMap<String, Windows> = BTreeMap::new();
    for window in Window::ALL {
        for (of, checked) in history.over(window, minute) {
            let of_window = OfWindow { checked, nines: checked.nines() };
            all.entry(of).or_default().insert(window.as_str(), of_window);
        }
    }
    all
}

/// A line a tier and view.
pub(super) fn lines(all: &BTreeMap<String, Windows>) -> Vec<String> {
    let window = |(name, of): (&&str, &OfWindow)| {
        let Checked { checks, wrong } = of.checked;
        format!("{name}: {wrong} of {checks} wrong ({:.1} nines)", of.nines.unwrap_or(0.0))
    };
    let line = |(of, windows): (&String, &Windows)| {
        format!("audit {of}: {}", windows.iter().map(window).collect::<Vec<_>>().join(", "))
    };
    all.iter().map(line).collect()
}
