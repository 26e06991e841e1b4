//! After quiet hours it is the clock's hour: what was sold last does not hold the shop's time.

use lockstep_schemas::change::Op;
use lockstep_schemas::column::ColumnType;
use lockstep_schemas::envelope::{Datum, RecordTable, Stamp, TableColumn};
use lockstep_schemas::position::{Lsn, Position};
use lockstep_schemas::registry::SchemaRecord;
use lockstep_schemas::topics;
use lockstep_warmer::forecast::hour::Hour;

use crate::feeds::{SECOND, now};
use crate::harness::kafka;
use crate::shop::Shop;

/// Far from those that are given out.
const SCHEMA: u32 = 900_001;
const QUIET_HOURS: i64 = 9;

/// The last line was sold hours ago, as a forecast finds it in the log.
pub fn the_forecast_is_for_the_hour_that_comes(shop: &Shop) {
    let column = |name: &str, identity| TableColumn { name: name.to_owned(), kind: ColumnType::Text, identity };
    let columns = vec![column("product_id", true), column("placed_at", false)];
    let table = RecordTable::new("test", "public", "order_lines", columns);
    let subject = table.subjects().1;
    let schema = SchemaRecord { subject, version: 1, id: SCHEMA, schema: table.value_schema.clone(), deleted: false };
    let config = kafka::config(shop.kafka());
    kafka::produce(shop.kafka(), &topics::SCHEMAS.name(&config), "test", &[schema.to_record().1]);

    let committed_at = now() - QUIET_HOURS * 3_600 * SECOND;
    let placed_at = jiff::Timestamp::from_microsecond(committed_at).expect("a time").to_string();
    let stamp = Stamp {
        // After all that this shop writes.
        position: Position { epoch: 0x7000, lsn: Lsn(1), ordinal: 1 },
        lsn: Lsn(1),
        previous_commit: Lsn(1),
        collection_order: 1,
        xid: 7,
        committed_at,
        now: committed_at,
        database: "shop",
        server: "test",
        incomplete: false,
    };
    let row = [Datum::Text("P52"), Datum::Text(&placed_at)];
    let line = table.envelope(SCHEMA, Op::Insert, None, Some(&row), &stamp);
    kafka::produce(shop.kafka(), &topics::of_group(&config, "sales"), "P52", &[line]);
    shop.scores("scores of the hour that comes", |scores| {
        let hour = scores.get("P52").map(|score| score.hour);
        hour == Some(Hour::of_micros(now()).plus(1).micros())
    });
}
