//! Promotions: what an operator writes down is in the scores while it lasts; and scores of a shop that is quiet.

use crate::quiet;
use crate::shop::Shop;

#[test]
fn a_promotion_lifts_a_product_that_has_not_sold_while_it_lasts() {
    let shop = Shop::open();
    shop.sell(0..3);
    shop.sql(
        "INSERT INTO lockstep.boosts (product_id, lines, begins_at, ends_at) VALUES
            ('P50', 7, now(), now() + interval '1 day'), ('P51', 7, now() - interval '2 day', now() - interval '1 day')",
    );
    let _forecast = shop.forecast();
    let scores = shop.scores("the promotion", |scores| scores.contains_key("P50"));
    assert!((scores["P50"].score - 7.0).abs() < 1e-9 && scores["P50"].model.ends_with("+boost"));
    assert!(!scores.contains_key("P51"), "that one is over");
    shop.sql("DELETE FROM lockstep.boosts");
    shop.scores("the promotion's end", |scores| !scores.is_empty() && !scores.contains_key("P50"));
    quiet::the_forecast_is_for_the_hour_that_comes(&shop);
}
