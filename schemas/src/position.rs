//! Where a change stands in the database's history (docs/protocol.md, "Positions").

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

/// A place in PostgreSQL's write-ahead log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl FromStr for Lsn {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (high, low) = text.split_once('/')?;
            let high = u32::from_str_radix(high, 16).ok()?;
            let low = u32::from_str_radix(low, 16).ok()?;
            Some(Lsn(u64::from(high) << 32 | u64::from(low)))
        };
        parse().ok_or_else(|| PositionError { what: "LSN", text: text.to_owned(), form: "16/B374D848" })
    }
}

/// Where a change stands in the database's history: epoch, LSN of the commit record, ordinal of the row in its
/// transaction. Its text is of fixed width, so that comparing texts compares positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// One unbroken history of the source.
    pub epoch: u16,
    /// LSN of the commit record.
    pub lsn: Lsn,
    /// Rows of a transaction count from 1; 0 says "all before this LSN".
    pub ordinal: u32,
}

impl Position {
    /// The least position: what a tier that has never been written to has applied.
    pub const LEAST: Position = Position { epoch: 0, lsn: Lsn(0), ordinal: 0 };
    /// The greatest position: the source itself, which lags nothing.
    pub const GREATEST: Position = Position { epoch: u16::MAX, lsn: Lsn(u64::MAX), ordinal: u32::MAX };

    /// Its text. Positions go into every call, several times: neither the heap nor formatting machinery for them.
    pub fn text(&self) -> PositionText {
        let mut text = [b'-'; 30];
        write_digits(&self.epoch.to_be_bytes(), &mut text[0..4]);
        write_digits(&self.lsn.0.to_be_bytes(), &mut text[5..21]);
        write_digits(&self.ordinal.to_be_bytes(), &mut text[22..30]);
        PositionText(text)
    }

    /// Everything before this LSN.
    pub fn before(epoch: u16, lsn: Lsn) -> Self {
        Position { epoch, lsn, ordinal: 0 }
    }

    /// Everything up to and with this LSN: the upper bound of what a snapshot can hold (docs/protocol.md, "low and high").
    pub fn through(epoch: u16, lsn: Lsn) -> Self {
        Position { epoch, lsn, ordinal: u32::MAX }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

/// A position's text.
pub struct PositionText([u8; 30]);

impl Deref for PositionText {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

fn write_digits(bytes: &[u8], digits: &mut [u8]) {
    for (byte, two) in bytes.iter().zip(digits.chunks_exact_mut(2)) {
        two.copy_from_slice(&DIGITS[usize::from(*byte)]);
    }
}

/// The two digits of each byte.
const DIGITS: [[u8; 2]; 256] = {
    let (digits, mut all, mut byte) = (b"0123456789abcdef", [[0; 2]; 256], 0);
    while byte < 256 {
        all[byte] = [digits[byte >> 4], digits[byte & 0xf]];
        byte += 1;
    }
    all
};

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let digits = |part: &str, width: usize| {
                let lower = part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
                (part.len() == width && lower).then(|| u64::from_str_radix(part, 16).ok()).flatten()
            };
            let mut parts = text.splitn(3, '-');
            let epoch = digits(parts.next()?, 4)? as u16;
            let lsn = Lsn(digits(parts.next()?, 16)?);
            let ordinal = digits(parts.next()?, 8)? as u32;
            Some(Position { epoch, lsn, ordinal })
        };
        let form = "0001-00000000016b3748-00000001";
        parse().ok_or_else(|| PositionError { what: "position", text: text.to_owned(), form })
    }
}

/// A text that is no position.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is not a valid {what}; it looks like {form}")]
pub struct PositionError {
    what: &'static str,
    text: String,
    form: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_keeps_order(a: (u16, u64, u32), b: (u16, u64, u32)) {
            let position = |(epoch, lsn, ordinal)| Position { epoch, lsn: Lsn(lsn), ordinal };
            let (a, b) = (position(a), position(b));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
            prop_assert_eq!(a.to_string().parse::<Position>(), Ok(a));
        }

        #[test]
        fn lsn_round_trip(lsn: u64) {
            prop_assert_eq!(Lsn(lsn).to_string().parse::<Lsn>(), Ok(Lsn(lsn)));
        }
    }

    #[test]
    fn refuses_other_forms() {
        for text in ["", "1-2-3", "0001-00000000016B3748-00000001", "0001-00000000016b3748-000000010"] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }
}
