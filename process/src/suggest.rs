//! "Did you mean": the nearest of the words that would have been right.

/// The nearest candidate, if it is near enough to be meant.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let scored = candidates.into_iter().map(|candidate| (strsim::jaro_winkler(word, candidate), candidate));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(score, _)| *score > 0.75).map(|(_, candidate)| candidate)
}

/// Adds a suggestion to serde's message about an unknown field.
pub fn explain(message: &str) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((unknown, expected)) if message.contains("unknown field") => {
            match nearest(unknown, expected.iter().copied()) {
                Some(meant) => format!("{}; did you mean `{meant}`?", message.trim_end()),
                None => message.trim_end().to_owned(),
            }
        }
        _ => message.trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_what_was_meant() {
        assert_eq!(nearest("brokres", ["brokers", "password"]), Some("brokers"));
        assert_eq!(nearest("zzz", ["brokers"]), None);
        let message = "unknown field `colums`, expected one of `table`, `columns`";
        assert!(explain(message).ends_with("did you mean `columns`?"));
    }
}
