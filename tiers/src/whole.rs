//! An entry as one text, in the form that `RESTORE` takes. A function hands it on as it is, instead of two texts for each
//! field: of what a whole entry cost a node, most was the carrying of texts into Lua and out of it.
//!
//! The form is RDB's, version 10, that of Redis 7.0: its successors and Valkey take it too. What is small is a listpack,
//! just as the server would lay it out itself; the rest is a list of fields, and the server chooses.

use std::collections::{HashMap, HashSet};

use crc::{CRC_64_REDIS, Crc, Table};

const RDB_VERSION: u16 = 10;
const TYPE_HASH: u8 = 4;
const TYPE_HASH_LISTPACK: u8 = 16;
/// What a server keeps as a listpack unless it is told otherwise (`hash-max-listpack-entries`, `hash-max-listpack-value`).
const LISTPACK_FIELDS_MAX: usize = 512;
const LISTPACK_TEXT_MAX: usize = 64;
const LISTPACK_END: u8 = 0xff;
/// A listpack begins with its length in bytes (4) and its number of elements (2).
const LISTPACK_HEAD: usize = 6;
/// So many names are compared with one another; more are looked up.
const COMPARED_MAX: usize = 32;
/// What the form adds to a field's texts, at most.
const FIELD_OVERHEAD: usize = 12;
/// What it adds to an entry, at most, with the fields of ours.
const ENTRY_OVERHEAD: usize = 192;

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

/// How long an entry of so many fields, with so many bytes of texts, is at most.
pub(crate) const fn length_max(fields: usize, bytes: usize) -> usize {
    ENTRY_OVERHEAD + fields * FIELD_OVERHEAD + bytes
}

/// A hash of these fields as `RESTORE` takes it, into a buffer that is kept for the next one. Of two of one name the last one
/// counts, as for `HSET`: a server that has both of them in a listpack ends itself at its next change.
pub(crate) fn hash<'t>(fields: impl Iterator<Item = (&'t str, &'t str)> + Clone, whole: &mut Vec<u8>) {
    if are_distinct(fields.clone().map(|(name, _)| name)) {
        write(fields, whole);
    } else {
        let last: HashMap<&str, &str> = fields.collect();
        write(last.iter().map(|(name, text)| (*name, *text)), whole);
    }
}

fn are_distinct<'t>(names: impl Iterator<Item = &'t str> + Clone) -> bool {
    // Most names differ at a glance: then they need not be compared.
    let (mut known, mut glances) = ([""; COMPARED_MAX], 0_u64);
    for (count, name) in names.clone().enumerate() {
        if count == COMPARED_MAX {
            let mut known = HashSet::new();
            return names.clone().all(|name| known.insert(name));
        }
        let glance = glance(name);
        if glances & glance != 0 && known[..count].contains(&name) {
            return false;
        }
        glances |= glance;
        known[count] = name;
    }
    true
}

/// One bit of 64, of a name's length and both its ends.
fn glance(name: &str) -> u64 {
    let end = |byte: Option<&u8>| byte.copied().map_or(0, usize::from);
    let (first, last) = (end(name.as_bytes().first()), end(name.as_bytes().last()));
    1 << ((name.len() * 5 + first * 3 + last * 17) % 64)
}

fn write<'t>(fields: impl Iterator<Item = (&'t str, &'t str)> + Clone, whole: &mut Vec<u8>) {
    let (mut count, mut bytes, mut longest) = (0, 0, 0);
    fields.clone().for_each(|(name, text)| {
        (count, bytes, longest) = (count + 1, bytes + name.len() + text.len(), longest.max(name.len()).max(text.len()));
    });
    whole.clear();
    whole.reserve(length_max(count, bytes));
    if count <= LISTPACK_FIELDS_MAX && longest <= LISTPACK_TEXT_MAX {
        listpack(fields, whole);
    } else {
        whole.push(TYPE_HASH);
        length(count, whole);
        for text in fields.flat_map(|(name, text)| [name, text]) {
            length(text.len(), whole);
            whole.extend_from_slice(text.as_bytes());
        }
    }
    whole.extend_from_slice(&RDB_VERSION.to_le_bytes());
    let checksum = CRC.checksum(whole);
    whole.extend_from_slice(&checksum.to_le_bytes());
}

/// A length, as RDB has it: 6 bits, 14, or 32.
fn length(length: usize, out: &mut Vec<u8>) {
    match length {
        0..0x40 => out.push(length as u8),
        0x40..0x4000 => out.extend_from_slice(&(0x4000 | length as u16).to_be_bytes()),
        _ => {
            out.push(0x80);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
}

/// A listpack, as an RDB string.
fn listpack<'t>(fields: impl Iterator<Item = (&'t str, &'t str)>, out: &mut Vec<u8>) {
    // How long it is, is known only once it is written: here is room for the usual, two bytes of it.
    out.extend_from_slice(&[TYPE_HASH_LISTPACK, 0, 0]);
    let begin = out.len();
    out.extend_from_slice(&[0; LISTPACK_HEAD]);
    let mut elements = 0_u16;
    fields.for_each(|(name, text)| {
        element(name, out);
        element(text, out);
        elements += 2;
    });
    out.push(LISTPACK_END);
    let bytes = out.len() - begin;
    out[begin..begin + 4].copy_from_slice(&(bytes as u32).to_le_bytes());
    out[begin + 4..begin + 6].copy_from_slice(&elements.to_le_bytes());
    if let 0x40..0x4000 = bytes {
        out[1..begin].copy_from_slice(&(0x4000 | bytes as u16).to_be_bytes());
    } else {
        let mut said = Vec::new();
        length(bytes, &mut said);
        out.splice(1..begin, said);
    }
}

/// An element of a listpack: what it is, then how long it is, for who reads backwards. None is longer than 66 bytes, so
/// seven bits say that.
fn element(text: &str, out: &mut Vec<u8>) {
    let begin = out.len();
    if let Some(number) = integer(text) {
        element_of_number(number, out);
    } else {
        // Six bits for a text of up to 63; twelve for one of up to 4095. No text here is longer.
        if text.len() < 0x40 {
            out.push(0x80 | text.len() as u8);
        } else {
            out.extend_from_slice(&(0xe000 | text.len() as u16).to_be_bytes());
        }
        out.extend_from_slice(text.as_bytes());
    }
    out.push((out.len() - begin) as u8);
}

/// The number whose only text this is: no blanks, no plus, no leading zeros.
fn integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    let is_canonical = matches!(digits, [b'1'..=b'9', ..]) || text == "0";
    if is_canonical { text.parse().ok() } else { None }
}

fn element_of_number(number: i64, out: &mut Vec<u8>) {
    let bytes = number.to_le_bytes();
    match number {
        0..=127 => out.push(number as u8),
        -4_096..=4_095 => out.extend_from_slice(&(0xc000 | (number as u16 & 0x1fff)).to_be_bytes()),
        -0x8000..=0x7fff => out.extend([0xf1].iter().chain(&bytes[..2])),
        -0x80_0000..=0x7f_ffff => out.extend([0xf2].iter().chain(&bytes[..3])),
        -0x8000_0000..=0x7fff_ffff => out.extend([0xf3].iter().chain(&bytes[..4])),
        _ => out.extend([0xf4].iter().chain(&bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole<'t>(fields: impl Iterator<Item = (&'t str, &'t str)> + Clone) -> Vec<u8> {
        let mut whole = b"of before".to_vec();
        hash(fields, &mut whole);
        whole
    }

    /// What Redis 7.0.15 gives by `DUMP`, with `rdbcompression no`; in tests/functions a server reads many more.
    #[test]
    fn a_server_writes_the_same() {
        let small = b"\x10\x18\x18\0\0\0\x04\0\x81a\x02\x01\x01\x84name\x05\x84bowl\x05\xff\n\0|K+\xb7`.*r";
        assert_eq!(whole([("a", "1"), ("name", "bowl")].into_iter()), small);
        let large = [&b"\x04\x01\x01n\x40\x41"[..], &[b'x'; 65], b"\n\0Gun\xe0\x8b\x1f\xe4{"].concat();
        assert_eq!(whole([("n", &*"x".repeat(65))].into_iter()), large);
    }

    #[test]
    fn of_two_of_one_name_the_last_one_counts() {
        assert_eq!(whole([("a", "1"), ("a", "2")].into_iter()), whole([("a", "2")].into_iter()));
        let names: Vec<String> = (0..COMPARED_MAX + 1).map(|n| n.to_string()).collect();
        let many = |last: &'static str| names.iter().map(String::as_str).chain([last]).collect::<Vec<_>>();
        for (last, expected) in [("new", true), ("0", false), ("32", false)] {
            assert_eq!(are_distinct(many(last).into_iter()), expected, "{last}");
        }
        assert!(are_distinct(std::iter::empty()));
    }

    #[test]
    fn it_is_never_longer_than_is_reckoned_with() {
        for (count, size) in [(0, 0), (1, 64), (1, 65), (512, 64), (513, 1), (500, 0), (3, 70_000)] {
            let fields: Vec<(String, String)> = (0..count).map(|n| (n.to_string(), "x".repeat(size))).collect();
            let bytes: usize = fields.iter().map(|(name, text)| name.len() + text.len()).sum();
            let whole = whole(fields.iter().map(|(name, text)| (&**name, &**text)));
            assert!(whole.len() <= length_max(count, bytes), "{count} fields of {size}");
        }
    }

    #[test]
    fn numbers_have_one_text_only() {
        let cases = [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("007", None),
            ("-0", None),
            ("+1", None),
            ("", None),
            ("-", None),
            ("1.0", None),
            ("1 ", None),
        ];
        for (text, expected) in cases {
            assert_eq!(integer(text), expected, "{text:?}");
        }
    }
}
