//! Promotions that an operator has written down: the table `lockstep.boosts`.

use crate::database::{Database, DatabaseError, required};

/// As many as there may be at one time; more are left out, the youngest first.
const BOOSTS_MAX: usize = 10_000;
/// A score is a number whatever an operator writes.
const FACTOR_MAX: f64 = 1e6;

/// What a product's expected lines become while a promotion lasts: so many times, and so many more an hour.
#[derive(Clone, Debug, PartialEq)]
pub struct Boost {
    /// The product.
    pub product: String,
    /// From 0 to a million.
    pub factor: f64,
    /// From 0 to a million.
    pub lines: f64,
}

impl Boost {
    /// Expected lines with the promotion.
    pub fn apply(&self, expected: f64) -> f64 {
        expected * self.factor + self.lines
    }
}

/// Those that hold at this moment, by the database's clock. Without the table there are none.
pub async fn current(database: &Database) -> Result<Vec<Boost>, DatabaseError> {
    let there = database.texts("SELECT to_regclass('lockstep.boosts')::text".to_owned()).await?;
    if there.first().and_then(|row| row.first()).is_none_or(Option::is_none) {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT b.product_id, b.factor::text, b.lines::text FROM lockstep.boosts AS b \
         WHERE b.begins_at <= now() AND now() < b.ends_at ORDER BY b.begins_at, b.product_id LIMIT {BOOSTS_MAX}"
    );
    database.texts(sql).await?.iter().map(|row| read(row)).collect()
}

fn read(row: &[Option<String>]) -> Result<Boost, DatabaseError> {
    let number = |at| {
        let text = required(row, at, "a number")?;
        let number = text.parse::<f64>().ok().filter(|number| (0.0..=FACTOR_MAX).contains(number));
        number.ok_or(DatabaseError::Answer { expected: "a number from 0 to a million", answer: text.to_owned() })
    };
    Ok(Boost { product: required(row, 0, "a product")?.to_owned(), factor: number(1)?, lines: number(2)? })
}
