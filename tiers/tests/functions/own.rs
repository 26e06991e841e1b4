//! own: who may move L3's position, and from where.

use lockstep_schemas::position::Position;
use lockstep_tiers::{Applied, Apply, Outward};

use crate::bench::{Bench, Hash, at};

fn l3(watermark: &Hash) -> [Option<&str>; 4] {
    ["l3_owner", "l3", "l3_offset", "l3_begun"].map(|name| watermark.get(name).map(String::as_str))
}

/// [16e]: a replay begins at a position that was lowered before.
pub async fn the_position_is_lowered_only(bench: &Bench) {
    bench.plant_watermark(at(9)).await;
    let own = async |owner: &str, position: Position, offset: i64| {
        let owned = bench.tier.own(&bench.place, at(9), owner, (position, offset)).await;
        owned.expect("an answer").expect("the watermark that was expected")
    };
    assert_eq!(own("one", at(6), 60).await, (at(6), 60), "the first one");
    assert_eq!(own("two", at(8), 80).await, (at(6), 60), "never raised");
    assert_eq!(own("three", at(4), 40).await, (at(4), 40));
    let (position, watermark) = (at(4).to_string(), bench.watermark().await);
    assert_eq!(l3(&watermark), [Some("three"), Some(&position), Some("40"), None]);
    assert_eq!(watermark["pos"], at(9).to_string());
}

pub async fn the_watermark_is_compared_first(bench: &Bench) {
    bench.plant_watermark(at(9)).await;
    let before = bench.watermark().await;
    let owned = bench.tier.own(&bench.place, at(8), "one", (at(6), 60)).await.expect("an answer");
    assert_eq!(owned, Err(at(9)));
    assert_eq!(bench.watermark().await, before);
}

/// [16g8], [16g10]: a move that was sent by another, or before the last `own`, changes nothing. [16n]: neither does a call of
/// an owner that the tier has forgotten, though its position is as that owner left it.
pub async fn only_the_owner_moves_the_position(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    bench.tier.own(&bench.place, at(5), "ours", (at(5), 50)).await.expect("an answer").expect("owned");
    let apply = async |expect: u64, owner: &str, begun: Option<Position>, done: Option<(Position, i64)>| {
        let outward = Some(Outward { owner, begun, done });
        let batch = Apply { outward, ..bench.batch(at(expect), at(expect + 1), &[]) };
        let applied = bench.tier.apply(&bench.place, &batch).await.expect("an answer");
        let watermark = bench.watermark().await;
        let expected = if watermark["pos"] == at(expect).to_string() { expect } else { expect + 1 };
        assert_eq!(matches!(applied, Applied::Ok { .. }), expected > expect, "{applied:?}");
        watermark
    };
    let (five, six, seven) = (at(5).to_string(), at(6).to_string(), at(7).to_string());
    let other = apply(5, "theirs", Some(at(6)), Some((at(6), 60))).await;
    assert_eq!(l3(&other), [Some("ours"), Some(&five), Some("50"), None]);
    assert_eq!(other["pos"], at(5).to_string(), "nothing is written");
    let nobody = apply(5, "", Some(at(6)), Some((at(6), 60))).await;
    assert_eq!(nobody["pos"], six);
    assert_eq!(l3(&nobody), [Some("ours"), Some(&five), Some("50"), None]);
    let begun = apply(6, "ours", Some(at(7)), None).await;
    assert_eq!(l3(&begun), [Some("ours"), Some(&five), Some("50"), Some(&seven)], "begun alone");
    let done = apply(7, "ours", None, Some((at(6), 60))).await;
    assert_eq!(l3(&done), [Some("ours"), Some(&six), Some("60"), Some(&seven)], "done alone");
    bench.tier.own(&bench.place, at(8), "newer", (at(5), 50)).await.expect("an answer").expect("owned");
    let late = apply(8, "ours", Some(at(9)), Some((at(9), 90))).await;
    assert_eq!(l3(&late), [Some("newer"), Some(&five), Some("50"), Some(&seven)]);
    assert_eq!(late["pos"], at(8).to_string(), "nothing is written");
}
