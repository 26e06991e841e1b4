//! Hours, and lines sold in one.

const MICROS: i64 = 3_600_000_000;
const OF_WEEK: i64 = 168;
/// 1970 began on a Thursday; weeks begin on a Monday.
const MONDAY: i64 = 72;

/// As many hours as there are of microseconds in an `i64`, about: far enough from its ends to subtract.
const FAR: i64 = 1 << 32;

/// An hour of the shop, counted from 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(i64);

impl Hour {
    /// Before everything.
    pub const EARLIEST: Hour = Hour(-FAR);

    /// After everything.
    pub const LATEST: Hour = Hour(FAR);

    /// So many hours after 1970; what is farther away than any instant is brought in.
    pub fn new(hours: i64) -> Hour {
        Hour(hours.clamp(-FAR, FAR))
    }

    /// Hours after 1970.
    pub fn get(self) -> i64 {
        self.0
    }

    /// The hour of an instant, in microseconds since 1970.
    pub fn of_micros(at: i64) -> Hour {
        Hour::new(at.div_euclid(MICROS))
    }

    /// When it begins, in microseconds since 1970.
    pub fn micros(self) -> i64 {
        self.0.saturating_mul(MICROS)
    }

    /// So many hours later; earlier where negative.
    pub fn plus(self, hours: i64) -> Hour {
        Hour::new(self.0.saturating_add(hours))
    }

    /// Hours since `earlier`; negative where that is later.
    pub fn since(self, earlier: Hour) -> i64 {
        self.0 - earlier.0
    }

    /// Its place in the week, 0 to 167.
    pub fn of_week(self) -> usize {
        usize::try_from((self.0.rem_euclid(OF_WEEK) + MONDAY).rem_euclid(OF_WEEK)).unwrap_or_default()
    }
}

/// Lines of one product, by its number, in some hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sold {
    /// The product's number ([`super::products::Products`]).
    pub product: usize,
    /// Order lines.
    pub lines: u32,
}
