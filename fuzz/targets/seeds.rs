//! Writes what the targets begin with: a message of each kind as the server writes it, and records as ingest does.

use std::path::Path;
use std::{env, fs};

// It has what the counters call.
use libfuzzer_sys as _;
use lockstep_schemas::change::Op;
use lockstep_schemas::envelope::{Datum, Stamp};
use lockstep_schemas::position::{Lsn, Position};

mod sample;

fn main() -> std::io::Result<()> {
    let folder = env::args().nth(1).unwrap_or_else(|| "corpus".to_owned());
    let messages = messages();
    write(&folder, "pgoutput", &messages)?;
    let mut stream = vec![7];
    stream.extend(messages.iter().flat_map(|message| copy_data(message)));
    stream.extend([b'd', 0, 0, 0, 22, b'k', 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    let refusal = [b"E\0\0\0\x20SERROR\0C55006\0Min use\0\0\0\0\0\0\0".to_vec(), b"c\0\0\0\x04".to_vec()];
    write(&folder, "inbox", &[vec![stream], refusal.to_vec()].concat())?;
    let records = records();
    write(&folder, "envelope", &records)?;
    let schema = sample::table().value_schema;
    let with_schema: Vec<Vec<u8>> =
        records.iter().map(|record| [schema.as_bytes(), &[0], &record[5..]].concat()).collect();
    let small = [
        &b"{\"type\":\"array\",\"items\":\"null\"}\0\x10\0"[..],
        b"{\"type\":\"map\",\"values\":[\"null\",\"string\"]}\0\x02\x02a\x02\x02b\0",
        b"{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":9,\"scale\":2}\0\x02\x07",
        b"{\"type\":\"record\",\"name\":\"a.B\",\"fields\":[{\"name\":\"f\",\"type\":{\"type\":\"fixed\",\"name\":\"F\",\"size\":2}},{\"name\":\"g\",\"type\":\"F\"}]}\0aabb",
    ];
    write(&folder, "schema", &[with_schema, small.map(<[u8]>::to_vec).to_vec()].concat())
}

fn write(folder: &str, target: &str, seeds: &[Vec<u8>]) -> std::io::Result<()> {
    let folder = Path::new(folder).join(target);
    fs::create_dir_all(&folder)?;
    seeds.iter().enumerate().try_for_each(|(at, seed)| fs::write(folder.join(format!("seed-{at}")), seed))
}

/// PostgreSQL documentation, "Logical Replication Message Formats".
fn messages() -> Vec<Vec<u8>> {
    let tuple = b"\0\x03t\0\0\0\x01anu";
    let relation =
        b"R\0\0\0\x07public\0prices\0d\0\x02\x01id\0\0\0\0\x19\xff\xff\xff\xff\0price\0\0\0\0\x17\xff\xff\xff\xff";
    vec![
        [&b"B"[..], &[0; 16], b"\0\0\x03\x0d"].concat(),
        [&b"C"[..], &[0; 25]].concat(),
        [&b"M\x01"[..], &[0; 8], b"lockstep\0\0\0\0\x02{}"].concat(),
        relation.to_vec(),
        [&b"I\0\0\0\x07N"[..], tuple].concat(),
        [&b"U\0\0\0\x07K"[..], tuple, b"N", tuple].concat(),
        [&b"U\0\0\0\x07N"[..], tuple].concat(),
        [&b"D\0\0\0\x07O"[..], tuple].concat(),
        b"T\0\0\0\x02\0\0\0\0\x07\0\0\0\x08".to_vec(),
    ]
}

fn copy_data(message: &[u8]) -> Vec<u8> {
    let length = (4 + 25 + message.len() as u32).to_be_bytes();
    [&b"d"[..], &length, b"w", &[0; 24], message].concat()
}

fn records() -> Vec<Vec<u8>> {
    let table = sample::table();
    let row = sample::KINDS.map(|(_, text)| Datum::Text(text));
    let hollow: Vec<Datum<'_>> =
        row.iter().enumerate().map(|(at, datum)| if at == 0 { *datum } else { Datum::Unknown }).collect();
    let stamp = Stamp {
        position: Position { epoch: 3, lsn: Lsn(0x16B_3748), ordinal: 7 },
        lsn: Lsn(0x16B_3700),
        previous_commit: Lsn(0x16B_0000),
        collection_order: 2,
        xid: 781,
        committed_at: 1_795_517_474_346_853,
        now: 1_795_517_474_670_519,
        database: "shop",
        server: "lockstep",
        incomplete: false,
    };
    vec![
        table.envelope(9, Op::Insert, None, Some(&row), &stamp),
        table.envelope(9, Op::Update, Some(&hollow), Some(&row), &stamp),
        table.envelope(9, Op::Delete, Some(&hollow), None, &stamp),
    ]
}
