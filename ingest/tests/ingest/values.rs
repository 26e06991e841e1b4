//! Values of every type: as the type says, or as PostgreSQL's text; never a stop.

use lockstep_schemas::change::{Cell, Row};
use serde_json::json;

use crate::log::Seen;
use crate::shop::Shop;

fn row(seen: &[Seen]) -> &Row {
    let [seen] = seen else { panic!("one record: {seen:?}") };
    seen.change().after.as_ref().expect("a row")
}

fn unknown(row: &Row) -> Vec<&str> {
    row.iter().filter(|(_, cell)| **cell == Cell::Unknown).map(|(name, _)| name).collect()
}

/// A column, a value in SQL, and the text in which it arrives.
const VALUES: [(&str, &str, &str); 46] = [
    ("small", "-32768", "-32768"),
    ("big", "9223372036854775807", "9223372036854775807"),
    ("o", "4294967295", "4294967295"),
    ("yes", "true", "true"),
    ("f4", "'NaN'", "NaN"),
    ("f8", "1e-300", "1e-300"),
    ("n82", "-0.01", "-0.01"),
    ("n", "12345678901234567890.00", "12345678901234567890.00"),
    ("n3_2", "12345", "12300"),
    ("t", "E'tab\\there \\U0001F600'", "tab\there 😀"),
    ("vc", "''", ""),
    ("c", "'ab'", "ab   "),
    ("internal", "'x'", "x"),
    ("b", "'\\x00ff'", "\\x00ff"),
    ("d", "'2024-02-29'", "2024-02-29"),
    ("t0", "'24:00:00'", "24:00:00.000000"),
    ("t6", "'01:02:03.4'", "01:02:03.400000"),
    ("tz", "'01:02:03+05:30'", "01:02:03+05:30"),
    ("ts3", "'1969-12-31 23:59:59.999'", "1969-12-31T23:59:59.999000"),
    ("ts", "'9999-12-31 23:59:59'", "9999-12-31T23:59:59.000000"),
    ("tstz", "'2024-06-01 12:00+02'", "2024-06-01T10:00:00.000000Z"),
    ("i", "'1 mon -3 days 04:05:06'", "1 mon -3 days +04:05:06"),
    ("u", "'6F1C7BD2-30FF-4C2D-8F4E-0D7BBD3A5A01'", "6f1c7bd2-30ff-4c2d-8f4e-0d7bbd3a5a01"),
    ("j", "'{\"b\": 1,  \"a\": 2}'", "{\"b\": 1,  \"a\": 2}"),
    ("jb", "'{\"b\": 1,  \"a\": 2}'", "{\"a\": 2, \"b\": 1}"),
    ("x", "'<a/>'", "<a/>"),
    ("m", "1.5", "$1.50"),
    ("bits", "B'101'", "101"),
    ("vbits", "B'1'", "1"),
    ("ip", "'::1/64'", "::1/64"),
    ("net", "'10.0.0.0/8'", "10.0.0.0/8"),
    ("mac", "'08:00:2b:01:02:03'", "08:00:2b:01:02:03"),
    ("p", "'(1,2)'", "(1,2)"),
    ("price", "99", "99"),
    ("feeling", "'so so'", "so so"),
    ("at", "ROW('High \"St\"', 5)", "(\"High \"\"St\"\"\",5)"),
    ("ints", "ARRAY[1, NULL, 3]", "{1,NULL,3}"),
    ("texts", "ARRAY[['a', 'b c'], ['', '\"']]", "{{a,\"b c\"},{\"\",\"\\\"\"}}"),
    ("places", "ARRAY[ROW('x', 1)::place]", "{\"(x,1)\"}"),
    ("span", "'[1,5]'", "[1,6)"),
    ("spans", "'{[1,2),(5,)}'", "{[1,2),(5,)}"),
    ("during", "'[2024-01-01 00:00+00,)'", "[\"2024-01-01 00:00:00+00\",)"),
    ("words", "'a:1 b:2'", "'a':1 'b':2"),
    ("q", "'a & b'", "'a' & 'b'"),
    ("lsn", "'0/16B3748'", "0/16B3748"),
    ("class", "'kinds'", "kinds"),
];

pub async fn every_type_arrives(shop: &Shop) {
    let list = |at: fn(&(&'static str, &'static str, &'static str)) -> &'static str| {
        VALUES.iter().map(at).collect::<Vec<_>>().join(", ")
    };
    let insert = format!("INSERT INTO kinds (id, {}) VALUES (1, {})", list(|value| value.0), list(|value| value.1));
    let seen = shop.commit_all(&[&insert, "INSERT INTO kinds (id) VALUES (2)"]).await;
    let (full, empty) = (row(&seen[0]), row(&seen[1]));
    for (column, _, text) in VALUES {
        assert_eq!(full.text(column), Some(text), "{column}");
        assert_eq!(empty.get(column), &Cell::Null, "{column}");
    }
    assert!(unknown(full).is_empty() && !seen[0][0].change().incomplete);
    // The reference's own values, where they are no texts.
    let numbers = [
        ("d", json!(19_782)),
        ("t0", json!(86_400_000)),
        ("t6", json!(3_723_400_000_i64)),
        ("ts3", json!(-1)),
        ("ts", json!(253_402_300_799_000_000_i64)),
        ("b", json!([0, 255])),
        ("n82", json!([255])),
        ("f8", json!(1e-300)),
    ];
    for (column, value) in numbers {
        assert_eq!(*seen[0][0].after_in_avro(column), value, "{column}");
    }
    assert!(!full.has("twice"), "what the database computes is not in the log");
}

pub async fn what_avro_cannot_hold_is_incomplete(shop: &Shop) {
    let values = [
        ("d", "'infinity'"),
        ("d", "'0044-03-15 BC'"),
        ("d", "'10000-01-01'"),
        ("ts", "'-infinity'"),
        ("ts3", "'20000-01-01'"),
        ("tstz", "'0001-01-01 00:00+00 BC'"),
        ("n82", "'NaN'"),
        ("n", "'Infinity'"),
    ];
    let insert = |at: usize, column: &str, value: &str| {
        format!("INSERT INTO kinds (id, t, {column}) VALUES ({}, 'kept', {value})", 100 + at)
    };
    let inserts: Vec<String> =
        values.iter().enumerate().map(|(at, (column, value))| insert(at, column, value)).collect();
    let inserts: Vec<&str> = inserts.iter().map(String::as_str).collect();
    for (seen, (column, value)) in shop.commit_all(&inserts).await.iter().zip(values) {
        let row = row(seen);
        assert_eq!((unknown(row), row.text("t")), (vec![column], Some("kept")), "{column} {value}");
        assert!(seen[0].change().incomplete, "{column} {value}");
    }
}

/// A hundred columns, 4 kB in all; and texts that lie outside the row.
pub async fn a_wide_row_and_a_long_one(shop: &Shop) {
    let value = |n: usize| match n % 3 {
        0 => format!("'{}'", "x".repeat(100)),
        1 => n.to_string(),
        _ => format!("{n}.5"),
    };
    let values: Vec<String> = (0..100).map(value).collect();
    let insert = format!("INSERT INTO wide VALUES (1, {})", values.join(", "));
    let long = |id: i32, length: usize| format!("INSERT INTO long VALUES ({id}, 1, repeat('y', {length}))");
    let (short, long) = (long(1, 4_096), long(2, 300_000));
    let seen = shop
        .commit_all(&[&insert, "UPDATE wide SET c99 = 'z', c50 = NULL", &short, &long, "UPDATE long SET n = 2"])
        .await;
    let (inserted, updated) = (row(&seen[0]), row(&seen[1]));
    assert_eq!(
        (inserted.iter().count(), inserted.text("c98"), inserted.text("c97")),
        (101, Some("98.5000"), Some("97"))
    );
    assert_eq!(
        (updated.text("c99"), updated.get("c50"), updated.text("c96")),
        (Some("z"), &Cell::Null, inserted.text("c96"))
    );
    assert!(seen[0][0].bytes > 3_900, "{} bytes", seen[0][0].bytes);
    assert_eq!(row(&seen[2]).text("note").map(str::len), Some(4_096));
    assert_eq!(row(&seen[3]).text("note").map(str::len), Some(300_000));
    for updated in &seen[4] {
        let row = updated.change().after.as_ref().expect("a row");
        assert_eq!((unknown(row), row.text("n"), updated.change().incomplete), (vec!["note"], Some("2"), false));
        assert_eq!(updated.envelope()["source"]["unknown_after"], json!(["note"]));
    }
}
