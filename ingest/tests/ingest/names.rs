//! Names that PostgreSQL allows and Avro does not.

use lockstep_schemas::change::Row;
use serde_json::json;

use crate::log::Seen;
use crate::shop::{PARTITIONS, Shop};

pub async fn every_name_has_its_avro_name(shop: &Shop) {
    let seen = shop
        .commit_all(&[
            "INSERT INTO \"Unit \"\"Price\"\" list\" VALUES (1, 'g', 'blank', 'line', 'dot', 3, 's', 'so')",
            "UPDATE \"Unit \"\"Price\"\" list\" SET \"Id Nr.\" = 2",
            "INSERT INTO \"Mein.Schema\".\"2. Tisch.ä\" VALUES (1, 'p', 'u')",
            "INSERT INTO \"\"\"quoted\"\"\" VALUES (1)",
        ])
        .await;
    let tables: Vec<&str> = seen.iter().map(|seen| &*seen[0].change().table).collect();
    let named = "public.Unit \"Price\" list";
    assert_eq!(tables, [named, named, "\"Mein.Schema\".2. Tisch.ä", "public.\"\"\"quoted\"\"\""]);
    // Readers of ours see the database's names, others the adjusted ones, each its own.
    let expected = [
        ("Id Nr.", "Id_Nr_", json!(1)),
        ("Größe", "Gr__e", json!("g")),
        ("a b", "a_b", json!("blank")),
        ("a_b", "a_b_2", json!("line")),
        ("a.b", "a_b_3", json!("dot")),
        ("1st", "_1st", json!(3)),
        ("select", "select", json!("s")),
        ("say \"so\"", "say__so_", json!("so")),
    ];
    let [first] = &seen[0][..] else { panic!("one record") };
    for (column, adjusted, value) in &expected {
        assert_eq!(first.after_in_avro(adjusted), value, "{column}");
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        assert_eq!(after(first).text(column), Some(&*text));
    }
    assert_eq!(first.key, Some(json!({"Id_Nr_": 1})));
    let [gone, _, come] = &seen[1][..] else { panic!("a delete, a tombstone, an insert") };
    assert_eq!((gone.key.as_ref(), after(come).text("Id Nr.")), (first.key.as_ref(), Some("2")));
    let [other] = &seen[2][..] else { panic!("one record") };
    assert_eq!((after(other).text("ПРИВЕТ"), after(other).text("_")), (Some("p"), Some("u")));
    assert_eq!((other.after_in_avro("______"), other.after_in_avro("_")), (&json!("p"), &json!("u")));
    assert!(seen.iter().flatten().all(|seen| seen.partition < PARTITIONS && seen.group == "names"));
}

fn after(seen: &Seen) -> &Row {
    seen.change().after.as_ref().expect("a row")
}
