//! The built-in sales, as the forecast sees them.

use std::fs::File;

use flate2::read::GzDecoder;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use lockstep_warmer::forecast::hour::Hour;

const SALES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/online-retail-ii.csv.gz");

/// Every purchase line: its hour and its product, in order of time.
pub fn purchases() -> Vec<(Hour, String)> {
    let file = File::open(SALES).expect("the sales are in the repository");
    let mut reader = csv::Reader::from_reader(GzDecoder::new(file));
    let rows = reader.records().map(|row| row.expect("a row"));
    rows.filter(|row| &row[2] == "purchase").map(|row| (hour(&row[0]), row[1].to_owned())).collect()
}

/// The hour of a local time, taken as UTC.
pub fn hour(local: &str) -> Hour {
    let time: DateTime = local.parse().expect("a time");
    let instant = time.to_zoned_datetime(TimeZone::UTC).expect("UTC has every time").timestamp();
    Hour::of_micros(instant.as_microsecond())
}
