//! Whether the tier that answered is behind by more than its view allows, and what readers get then.

use lockstep_schemas::policy::{OnBehind, View};
use lockstep_tiers::{Answer, AnsweredBy};

/// `None`: it is not, or the database answered, which never is. A tier of which the age is not known counts as behind.
pub(crate) fn behind(answer: &Answer, view: &View, now_micros: i64) -> Option<OnBehind> {
    let staleness = view.staleness?;
    let AnsweredBy::Tier(_) = answer.by else { return None };
    let at = answer.mark.as_ref().map(|mark| mark.at).filter(|at| *at > 0);
    let bound = i64::try_from(staleness.bound.as_micros()).unwrap_or(i64::MAX);
    let is_behind = at.is_none_or(|at| now_micros.saturating_sub(at) > bound);
    is_behind.then_some(staleness.on_behind)
}

#[cfg(test)]
mod tests {
    use lockstep_schemas::policy::{DEFAULT, Policy, TierName};
    use lockstep_schemas::position::Position;
    use lockstep_tiers::{Kept, Mark};

    use super::*;

    #[test]
    fn a_tier_beyond_its_bound_is_behind() {
        let text = |lines: &str| DEFAULT.replacen("ttl = \"2h\"", &format!("ttl = \"2h\"\n{lines}"), 1);
        let check = |lines: &str, by: AnsweredBy, at: Option<i64>, expected: Option<OnBehind>| {
            let policy = Policy::parse(&text(lines)).expect("a policy");
            let mark = at.map(|at| Mark { position: Position::LEAST, timeline: String::new(), at, l3_begun: None });
            let answer = Answer { by, asked: Vec::new(), fields: None, mark, kept: Kept::Yes };
            assert_eq!(behind(&answer, &policy.views["product_all"], 100_000_000), expected, "{lines} {by:?} {at:?}");
        };
        let l2 = AnsweredBy::Tier(TierName::L2);
        let bypass = "bound = \"5s\"";
        check(bypass, l2, Some(95_000_000), None);
        check(bypass, l2, Some(94_999_999), Some(OnBehind::Bypass));
        check(bypass, l2, Some(0), Some(OnBehind::Bypass));
        check(bypass, l2, None, Some(OnBehind::Bypass));
        check(bypass, AnsweredBy::Database, Some(1), None);
        check("bound = \"5s\"\non_behind = \"stale\"", l2, Some(1), Some(OnBehind::Stale));
        check("", l2, Some(1), None);
    }
}
