//! What views demand of their tables' replica identities and indexes, and the remedies.

use crate::case::{CONFIGURED_WRONGLY, Case, check};
use crate::shop::Shop;

const VISITS: &str = "CREATE TABLE public.visits (product_id text NOT NULL, day date NOT NULL, count int NOT NULL);
    ALTER TABLE public.visits REPLICA IDENTITY FULL";

/// A policy of one view, with this said of it.
fn policy(view: &str) -> String {
    format!(
        "[groups.catalogue]\nentity_key = \"product_id\"\ntables = [\"public.products\", \"public.inventory\", \"public.visits\"]\n\
         [groups.customers]\nentity_key = \"user_id\"\ntables = [\"public.carts\", \"public.cart_lines\"]\n\
         [views.one]\nttl = \"1h\"\n{view}"
    )
}

/// After `migrate`; a database without ingest.
pub fn are_refused(shop: &Shop) {
    shop.sql(VISITS);
    let products = "{ table = \"public.products\", columns = [\"product_id\", \"category\"] }";
    let key = policy(&format!(
        "group = \"catalogue\"\ntiers = [\"l2\"]\nkey = \"shelf:{{category}}:{{product_id}}\"\nsources = [{products}]"
    ));
    let name = policy(
        "group = \"customers\"\ntiers = [\"l1\"]\nkey = \"cart:{user_id}\"\n\
         sources = [{ table = \"public.carts\", columns = [\"user_id\"] }, \
           { table = \"public.cart_lines\", rows = \"line:{product_id}\", columns = [\"quantity\"] }]",
    );
    let twice = policy(&format!(
        "group = \"catalogue\"\ntiers = [\"l2\"]\nkey = \"visits:{{product_id}}\"\n\
         sources = [{products}, {{ table = \"public.visits\", rows = \"day:{{day}}\", columns = [\"count\"] }}]"
    ));
    let test = policy(
        "group = \"catalogue\"\ntiers = [\"l3\"]\nkey = \"/p/{product_id}\"\ntag = \"p:{product_id}\"\n\
         sources = [{ table = \"public.inventory\", columns = [\"stock\"], when = \"stock crosses 0\" }]",
    );
    check(
        &shop.lockstep,
        &[
            Case::new("an old key would not be known", "run --role ingest").file("policy.toml", &key).fails(
                CONFIGURED_WRONGLY,
                &[
                    "public.products",
                    "does not contain category",
                    "ALTER TABLE \"public\".\"products\" REPLICA IDENTITY",
                ],
            ),
            Case::new("a row's old name would not be known", "run --role ingest")
                .file("policy.toml", &name)
                .fails(CONFIGURED_WRONGLY, &["public.cart_lines", "does not contain product_id", "REPLICA IDENTITY"]),
            Case::new("two rows would be one field", "run --role ingest")
                .file("policy.toml", &twice)
                .fails(CONFIGURED_WRONGLY, &["two rows of one product_id", "CREATE UNIQUE INDEX", "\"visits\""]),
            Case::new("an old value would not be known", "run --role ingest")
                .file("policy.toml", &test)
                .fails(CONFIGURED_WRONGLY, &["`stock crosses 0`", "\"inventory\" REPLICA IDENTITY FULL"]),
        ],
    );
    shop.sql("DROP TABLE public.visits");
}
