//! Mistakes in a policy, and the words in which each is refused.

use super::{DEFAULT, Policy};

/// What the protocol forbids, by what is written into a small policy.
#[test]
fn what_is_not_sound_is_refused_with_the_reason() {
    let small = r#"
        [groups.catalogue]
        entity_key = "id"
        tables = ["public.products", "public.prices", "public.reviews"]
        [groups.customers]
        entity_key = "user_id"
        tables = ["public.users"]
        [tables."public.products"]
        private = ["supplier"]
        [views.item]
        group = "catalogue"
        tiers = ["l2"]
        key = "item:{id}"
        ttl = "2h"
        sources = [{ table = "public.products", columns = ["id", "name"] }, { table = "public.prices", columns = ["price"] }]
    "#;
    Policy::parse(small).unwrap_or_else(|why| panic!("{why}"));
    let view = |lines: &str| format!("{small}\n[views.more]\n{lines}");
    let more = |tier: &str, lines: &str, sources: &str| {
        view(&format!("group = \"catalogue\"\ntiers = [\"{tier}\"]\nttl = \"1h\"\n{lines}\nsources = [{sources}]"))
    };
    let all = "{ table = \"public.products\", columns = [\"id\", \"name\"] }";
    let check = |text: String, expected: &str| {
        let why = Policy::parse(&text).map(|_| ()).expect_err(expected).to_string();
        assert!(why.contains(expected), "{why}\nand not {expected}");
    };
    let key = "key = \"more:{id}\"";
    let with_tag = "key = \"/more/{id}\"\ntag = \"more:{id}\"";
    let users = "{ table = \"public.users\", columns = [\"user_id\"] }";
    check(more("l2", key, &format!("{all}, {users}")), "its changes have another order");
    check(more("l1", &format!("{key}\nthrough = \"itme\""), all), "there is no view `itme`");
    check(more("l2", &format!("{key}\nthrough = \"item\""), all), "only a view on l1 goes `through` one");
    check(more("l1", key, all), "fill it `through = \"item\"`");
    let stock = "{ table = \"public.products\", columns = [\"id\", \"stock\"] }";
    check(more("l1", &format!("{key}\nthrough = \"item\""), stock), "field stock is not in view item");
    let of_prices = format!("{all}, {{ table = \"public.reviews\", columns = [\"price\"] }}");
    check(more("l1", &format!("{key}\nthrough = \"item\""), &of_prices), "field price is not in view item");
    let prices_first = "{ table = \"public.prices\", columns = [\"price\"] }";
    check(more("l1", &format!("{key}\nthrough = \"item\""), prices_first), "would not exist for the same entities");
    let many = (0..501).map(|n| format!("\"c{n}\"")).collect::<Vec<_>>().join(",");
    check(more("l2", key, &format!("{{ table = \"public.products\", columns = [{many}] }}")), "at most 500");
    check(more("l2", key, ""), "at least one source");
    check(more("l2", "key = \"item:{id}\"", all), "could have the same keys on that tier");
    check(more("l2", "key = \"more\"", all), "decides the partition in which an entry lies");
    check(more("l2", "key = \"more:{name}:{id}\"", &of_prices), "has one source");
    check(more("l2", "key = \"more:{shelf}:{id}\"", all), "needs column shelf, which its source does not list");
    let supplier = "{ table = \"public.products\", columns = [\"id\", \"supplier\"] }";
    check(more("l2", "key = \"more:{supplier}:{id}\"", supplier), "is private, and would stand in every key");
    check(more("l2", "key = \"more:{name}:{id}\"\nwarm = true", all), "is not warmed");
    check(more("l3", key, all), "purged by its `tag`");
    check(more("l3", &format!("{with_tag}\nsliding = true"), all), "extends no life");
    check(more("l3", &format!("{with_tag}\nage_max = \"1h\""), all), "its `ttl` is its greatest age");
    check(more("l2", &format!("{key}\nage_max = \"old\""), all), "`old` is not a duration");
    check(more("l3", &format!("{with_tag}\non_change = \"refresh\""), all), "at the edge a change purges");
    check(more("l3", &format!("{with_tag}\nbound = \"5s\""), all), "without asking how far it has come");
    check(more("l3", &format!("{with_tag}\nwarm = true"), all), "filled by its own readers");
    let reviews = |rest: &str| format!("{all}, {{ table = \"public.reviews\", columns = [\"stars\"], {rest} }}");
    check(more("l3", with_tag, &reviews("rows = \"review:{n}\"")), "there are no fields");
    check(more("l2", key, &reviews("rows = \"review\"")), "names no column");
    check(more("l2", key, &reviews("rows = \"na{n}\"")), "could have the name of another field");
    check(more("l2", key, &reviews("rows = \"review:{id}\"")), "needs what differs");
    check(more("l2", key, &reviews("when = \"stars changes\"")), "`when` is for l3");
    check(more("l3", with_tag, &reviews("when = \"stars grows\"")), "`grows` is not a test");
    check(more("l3", with_tag, &reviews("when = \"text changes\"")), "tests column text");
    let stars = "deferred = [\"stars\"]";
    let wait = format!("{key}\ndeferred = \"5m\"");
    check(more("l2", key, &reviews(stars)), "is deferred by how much?");
    check(more("l2", &wait, all), "which columns?");
    check(more("l2", &wait, &reviews("deferred = []")), "names no column");
    check(more("l2", &wait, &reviews("deferred = [\"text\"]")), "its source does not list it");
    check(more("l2", &wait, &reviews(&format!("{stars}, rows = \"review:{{stars}}\""))), "it tells whose row it is");
    check(more("l2", &format!("{key}\ndeferred = \"25h\""), &reviews(stars)), "a day at most");
    check(
        more("l3", &format!("{with_tag}\ndeferred = \"5m\""), &reviews(&format!("{stars}, when = \"stars changes\""))),
        "use one of them",
    );
    let named = "{ table = \"public.products\", columns = [\"id\", \"name\"], deferred = [\"name\"] }";
    check(more("l2", "key = \"more:{name}:{id}\"\ndeferred = \"5m\"", named), "can't wait for a pass");
    // docs/protocol.md, [17a]
    let beneath = small
        .replace("\"name\"] }", "\"name\"], deferred = [\"name\"] }")
        .replace("ttl = \"2h\"", "ttl = \"2h\"\ndeferred = \"5m\"");
    check(
        format!(
            "{beneath}\n[views.more]\ngroup = \"catalogue\"\ntiers = [\"l1\"]\nttl = \"1h\"\n{key}\nthrough = \"item\"\nsources = [{all}]"
        ),
        "column name is deferred in view item, and so must be here",
    );
    check(more("l2", key, &reviews("row = \"review:{n}\"")), "did you mean `rows`?");
    let first = "{ table = \"public.reviews\", columns = [\"stars\"], rows = \"review:{n}\" }";
    check(more("l2", key, &format!("{first}, {all}")), "decides whether the entry exists");
    check(more("l2", key, &format!("{all}, {all}")), "is a source twice");
    check(more("l2", &format!("{key}\nhot_set = 5"), all), "only a view `through` another has a `hot_set`");
    check(more("l1", &format!("{key}\nthrough = \"item\"\nhot_set = 0"), all), "has no entries");
    check(more("l1", &format!("{key}\nthrough = \"item\"\nhot_set = \"most\""), all), "\"covers 80%\"");
    check(more("l1", &format!("{key}\nthrough = \"item\"\nwarm = true"), all), "`warm` is for that one");
    check(more("l2", &format!("{key}\non_behind = \"stale\""), all), "needs a `bound`");
    check(more("l2", &format!("{key}\nbound = \"1s\""), all), "behind by up to 3s");
    check(more("l2", &format!("{key}\nbound = \"5s\"\non_behind = \"fail\""), all), "on_behind `fail`");
    check(more("l2", &format!("{key}\non_change = \"defer\""), all), "on_change `defer`");
    let text = more("l2", key, &reviews("rows = \"review:{n}\""));
    let text = text.replace("[tables.\"public.products\"]", "[tables.\"public.reviews\"]").replace("supplier", "n");
    check(text, "would stand in the names of fields");
}

#[test]
fn mistakes_are_refused_with_their_place() {
    let check = |from: &str, to: &str, expected: &str| {
        let text = DEFAULT.replacen(from, to, 1);
        let why = Policy::parse(&text).expect_err(expected).to_string();
        assert!(why.contains(expected), "{why}");
    };
    check("warm = true", "wram = true", "did you mean `warm`?");
    check("\"public.orders\"", "\"orders\"", "with its schema: `public.orders`");
    check("\"public.orders\"", "\"\\\"public\\\".\\\"prices\\\"\"", "in group catalogue already");
    check("group = \"catalogue\"", "group = \"catalog\"", "did you mean `catalogue`?");
    check("ttl = \"2h\"", "ttl = \"soon\"", "not a duration");
    check("tiers = [\"l2\"]", "tiers = [\"l4\"]", "there is no tier `l4`");
    check("tiers = [\"l2\"]", "tiers = [\"l1\", \"l2\"]", "a view lives on one tier");
    check("entity_key = ", "entity_kye = ", "did you mean `entity_key`?");
    check("columns = ", "colums = ", "did you mean `columns`?");
    check("\"stock\"", "\"stock\", \"name\"", "two sources give a field name");
    check("through = \"product_all\"", "through = \"product_page\"", "that one is on l2");
    check("key = \"user:{user_id}\"", "key = \"user:{id}\"", "it must contain {user_id}");
    check("[groups.sales]", "[groups.progress]", "a topic of Lockstep's own");
    check("\"public.orders\"", "\"public.prices\"", "in group catalogue already");
    check("columns = [\"price_pence\", \"currency\"]", "columns = [\"price_pence\"]", "not in view product_all");
    check("[tables.\"public.users\"]", "[tables.\"public.user\"]", "did you mean `public.users`?");
    check("[tables.\"public.users\"]", "[tables.users]", "with its schema: `public.users`");
    check("private = [", "privat = [", "did you mean `private`?");
    check("private = [", "private = [\"email\", ", "column email is named twice");
}
