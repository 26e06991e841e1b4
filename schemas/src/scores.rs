//! Forecast scores on the wire: Avro, so that any other model can write them (docs/envelope.md, "Topics").

use crate::avro::{AvroError, Reader, Writer};

/// The registry's subject.
pub const SUBJECT: &str = "forecast.scores-value";
/// The schema's text.
pub const SCHEMA: &str = include_str!("../avro/forecast.scores.avsc");

/// How much a product is expected to be asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// The product.
    pub product: String,
    /// Start of the hour, microseconds since 1970.
    pub hour: i64,
    /// Expected lines.
    pub score: f64,
    /// Who says so.
    pub model: String,
    /// When, microseconds since 1970.
    pub made_at: i64,
}

impl Score {
    /// A framed record.
    pub fn encode(&self, schema_id: u32) -> Vec<u8> {
        let mut writer = Writer::framed(schema_id);
        writer.blob(self.product.as_bytes());
        writer.long(self.hour);
        writer.double(self.score);
        writer.blob(self.model.as_bytes());
        writer.long(self.made_at);
        writer.bytes
    }

    /// Reads a record without its frame. A score that is negative or no number is refused.
    pub fn decode(body: &[u8]) -> Result<Score, AvroError> {
        let score = Score::read(body)?;
        if score.score.is_finite() && score.score >= 0.0 { Ok(score) } else { Err(AvroError::Kind("score")) }
    }

    /// Reads a record without its frame, whatever number the score is. What follows the last field is not of this schema.
    pub fn read(body: &[u8]) -> Result<Score, AvroError> {
        let mut reader = Reader::new(body);
        let score = Score {
            product: reader.text()?.to_owned(),
            hour: reader.long()?,
            score: reader.double()?,
            model: reader.text()?.to_owned(),
            made_at: reader.long()?,
        };
        if reader.is_empty() { Ok(score) } else { Err(AvroError::Kind("score")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_comes_back() {
        let score =
            Score { product: "85123A".to_owned(), hour: 3_600_000_000, score: 2.5, model: "m".to_owned(), made_at: 7 };
        let record = score.encode(4);
        assert_eq!(Score::decode(&record[5..]), Ok(score.clone()));
        let schema = apache_avro::Schema::parse_str(SCHEMA).expect("a schema");
        let reader = apache_avro::reader::datum::GenericDatumReader::builder(&schema).build().expect("a reader");
        let mut body = &record[5..];
        reader.read_value(&mut body).expect("the reference reads it");
        assert!(body.is_empty());
        let bad = Score { score: f64::NAN, ..score };
        assert!(Score::decode(&bad.encode(4)[5..]).is_err());
    }
}
