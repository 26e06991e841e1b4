//! Purges by hand: inside out, and proven.

use crate::harness::until;
use crate::site::{LIMIT, Site, WRONG, first_price};

const CALLED_WRONGLY: i32 = 64;
const NOT_YET: i32 = 75;

pub fn an_entity_goes_from_every_tier(site: &mut Site) {
    for (product, n, purge) in
        [("P1", 1, "purge --wait --key product:all:P1"), ("P2", 2, "purge --wait --tag product:P2")]
    {
        site.spoil(product);
        let kept_wrong = || (site.price_at_edge(product) == (Some(WRONG), true)).then_some(());
        until("the edge to keep what is wrong", LIMIT, kept_wrong);
        let told = site.ask_json(purge);
        for tier in ["l2", "l1", "l3"] {
            assert!(told["purged"][tier].is_string(), "{tier} is proven: {told}");
        }
        assert_eq!(site.price_at_edge(product).0, first_price(n), "{purge}");
        assert_eq!(site.price(product), first_price(n), "{purge}");
    }
    let asked = site.ask("purge --key product:hot:P1");
    assert!(asked.starts_with("asked for it before "), "{asked}");

    for (arguments, code, words) in [
        (&["purge", "--key", "produkt:P1"][..], CALLED_WRONGLY, ["a key of no view", "product:all:{product_id}"]),
        (&["purge", "--tag", "page:P1"], CALLED_WRONGLY, ["a tag of no view", "product:{product_id}"]),
        (&["purge"], CALLED_WRONGLY, ["required", "--key"]),
    ] {
        let ended = site.shop.lockstep.run(arguments);
        assert_eq!(ended.code, Some(code), "{ended}");
        assert!(words.iter().all(|word| ended.stderr.contains(word)), "{ended}");
    }
}

/// A purge that its lane does not come to is not said to be done.
pub fn is_not_proven(site: &Site, key: &str) {
    let ended = site.shop.lockstep.run(&["purge", "--key", key, "--wait", "--timeout", "300ms"]);
    assert_eq!(ended.code, Some(NOT_YET), "{ended}");
    assert!(ended.stderr.contains("l2 was not proven to be purged") && ended.stderr.contains("status"), "{ended}");
}
