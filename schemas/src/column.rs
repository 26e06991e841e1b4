//! The types of columns, and the one canonical text in which a value stands in an entry.
//!
//! A value reaches a tier on two ways: from the log (PostgreSQL's text, Avro, canonical text) and from a loader
//! (PostgreSQL's text, canonical text). Both must end in the same bytes; the tests below hold them together.
//! Avro types are those of Debezium's PostgreSQL connector (docs/envelope.md).

use std::fmt::Write as _;

use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::BigInt;
use jiff::civil;
use serde_json::{Value as Json, json};

use crate::avro::{AvroError, Plan, Reader, Writer};
use crate::change::Text;

/// What Debezium writes for a text whose unchanged TOAST value was not in the log.
pub const UNAVAILABLE: &str = "__debezium_unavailable_value";

/// A column's type, as far as its encoding goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// boolean.
    Boolean,
    /// smallint.
    Int16,
    /// integer.
    Int32,
    /// bigint, oid.
    Int64,
    /// real.
    Float,
    /// double precision.
    Double,
    /// numeric(precision, scale).
    Decimal {
        /// Digits in all.
        precision: u32,
        /// Digits after the point.
        scale: u32,
    },
    /// numeric without a scale of its own.
    VariableDecimal,
    /// bytea.
    Bytes,
    /// date.
    Date,
    /// time(0) to time(3).
    TimeMillis,
    /// time(4) to time(6).
    TimeMicros,
    /// timestamp(0) to timestamp(3).
    TimestampMillis,
    /// timestamp(4) to timestamp(6).
    TimestampMicros,
    /// timestamp with time zone.
    TimestampTz,
    /// uuid.
    Uuid,
    /// json, jsonb.
    Json,
    /// Every other type: PostgreSQL's own text.
    Text,
}

impl ColumnType {
    /// From the type's object id and modifier, as in a Relation message or `pg_attribute`.
    pub fn from_oid(oid: u32, modifier: i32) -> Self {
        let micros = !(0..=3).contains(&modifier);
        match oid {
            16 => ColumnType::Boolean,
            21 => ColumnType::Int16,
            23 => ColumnType::Int32,
            20 | 26 => ColumnType::Int64,
            700 => ColumnType::Float,
            701 => ColumnType::Double,
            1700 if modifier >= 4 => {
                let (precision, scale) = ((modifier - 4) >> 16, (modifier - 4) & 0x7ff);
                // A negative scale (numeric(3,-2)) sets the 11th bit.
                if scale < 1024 {
                    ColumnType::Decimal { precision: precision as u32, scale: scale as u32 }
                } else {
                    ColumnType::VariableDecimal
                }
            }
            1700 => ColumnType::VariableDecimal,
            17 => ColumnType::Bytes,
            1082 => ColumnType::Date,
            1083 if micros => ColumnType::TimeMicros,
            1083 => ColumnType::TimeMillis,
            1114 if micros => ColumnType::TimestampMicros,
            1114 => ColumnType::TimestampMillis,
            1184 => ColumnType::TimestampTz,
            2950 => ColumnType::Uuid,
            114 | 3802 => ColumnType::Json,
            _ => ColumnType::Text,
        }
    }

    /// Whether the value is a JSON number or boolean, and so stands without quotes in an answer.
    pub fn is_bare(self) -> bool {
        use ColumnType as T;
        matches!(self, T::Boolean | T::Int16 | T::Int32 | T::Int64)
    }

    /// Its Avro schema, without the null branch.
    pub fn schema(self) -> Json {
        let named = |kind: &str, name: &str| json!({"type": kind, "connect.version": 1, "connect.name": name});
        match self {
            ColumnType::Boolean => json!("boolean"),
            ColumnType::Int16 => json!({"type": "int", "connect.type": "int16"}),
            ColumnType::Int32 => json!("int"),
            ColumnType::Int64 => json!("long"),
            ColumnType::Float => json!("float"),
            ColumnType::Double => json!("double"),
            ColumnType::Decimal { precision, scale } => json!({
                "type": "bytes", "scale": scale, "precision": precision, "connect.version": 1,
                "connect.parameters": {"scale": scale.to_string(), "connect.decimal.precision": precision.to_string()},
                "connect.name": "org.apache.kafka.connect.data.Decimal", "logicalType": "decimal",
            }),
            ColumnType::VariableDecimal => json!({
                "type": "record", "name": "VariableScaleDecimal", "namespace": "io.debezium.data",
                "fields": [{"name": "scale", "type": "int"}, {"name": "value", "type": "bytes"}],
                "connect.version": 1, "connect.name": "io.debezium.data.VariableScaleDecimal",
            }),
            ColumnType::Bytes => json!("bytes"),
            ColumnType::Date => named("int", "io.debezium.time.Date"),
            ColumnType::TimeMillis => named("int", "io.debezium.time.Time"),
            ColumnType::TimeMicros => named("long", "io.debezium.time.MicroTime"),
            ColumnType::TimestampMillis => named("long", "io.debezium.time.Timestamp"),
            ColumnType::TimestampMicros => named("long", "io.debezium.time.MicroTimestamp"),
            ColumnType::TimestampTz => named("string", "io.debezium.time.ZonedTimestamp"),
            ColumnType::Uuid => named("string", "io.debezium.data.Uuid"),
            ColumnType::Json => named("string", "io.debezium.data.Json"),
            ColumnType::Text => json!("string"),
        }
    }

    /// The canonical text of a value in PostgreSQL's text (session: UTC, ISO dates, hex bytea, shortest floats). What
    /// can't be read as its type (`infinity`, a year before Christ) stays as it is.
    pub fn canonical(self, text: &str) -> String {
        if matches!(self, ColumnType::Text | ColumnType::Uuid | ColumnType::Json) {
            return text.to_owned();
        }
        // As Avro's long would give it back, without the way there.
        if matches!(self, ColumnType::Int16 | ColumnType::Int32 | ColumnType::Int64) {
            return text.parse::<i64>().map_or_else(|_| text.to_owned(), |number| number.to_string());
        }
        let mut writer = Writer::default();
        let encoded = self.encode(text, &mut writer);
        let decoded = encoded.and_then(|()| self.decode(&mut Reader::new(&writer.bytes)).ok());
        decoded.unwrap_or_else(|| text.to_owned())
    }

    /// Writes a value in PostgreSQL's text as Avro. `None`: Avro's type can't hold it, so it must be called unknown;
    /// nothing was written.
    pub fn encode(self, text: &str, writer: &mut Writer) -> Option<()> {
        match self {
            ColumnType::Boolean => writer.boolean(match text {
                "t" | "true" => true,
                "f" | "false" => false,
                _ => return None,
            }),
            ColumnType::Int16 | ColumnType::Int32 | ColumnType::Int64 => writer.long(text.parse().ok()?),
            ColumnType::Float => writer.float(text.parse().ok()?),
            ColumnType::Double => writer.double(text.parse().ok()?),
            ColumnType::Decimal { scale, .. } => {
                let (digits, exponent) = text.parse::<BigDecimal>().ok()?.into_bigint_and_exponent();
                if exponent != i64::from(scale) {
                    return None;
                }
                writer.blob(&digits.to_signed_bytes_be());
            }
            ColumnType::VariableDecimal => {
                let (digits, exponent) = text.parse::<BigDecimal>().ok()?.into_bigint_and_exponent();
                writer.long(exponent);
                writer.blob(&digits.to_signed_bytes_be());
            }
            ColumnType::Bytes => writer.blob(&unhex(text.strip_prefix("\\x")?)?),
            ColumnType::Date => {
                writer.long(i64::from(days(text.parse().ok()?)?));
            }
            ColumnType::TimeMillis => writer.long(day_micros(text)? / 1_000),
            ColumnType::TimeMicros => writer.long(day_micros(text)?),
            ColumnType::TimestampMillis => writer.long(micros(text)? / 1_000),
            ColumnType::TimestampMicros => writer.long(micros(text)?),
            ColumnType::TimestampTz => {
                let utc = text.strip_suffix("+00")?;
                writer.blob(format!("{}Z", instant_text(micros(utc)?)?).as_bytes());
            }
            ColumnType::Uuid | ColumnType::Json | ColumnType::Text => writer.blob(text.as_bytes()),
        }
        Some(())
    }

    /// Reads what [`ColumnType::encode`] wrote, as canonical text.
    fn decode(self, reader: &mut Reader<'_>) -> Result<String, AvroError> {
        match self {
            ColumnType::Decimal { scale, .. } => Ok(decimal_text(reader.blob()?, scale)),
            ColumnType::VariableDecimal => variable_decimal(reader),
            ColumnType::Boolean => Ok(reader.boolean()?.to_string()),
            ColumnType::Int16 | ColumnType::Int32 | ColumnType::Int64 => Ok(reader.long()?.to_string()),
            ColumnType::Float => Ok(float_text(reader.float()?)),
            ColumnType::Double => Ok(double_text(reader.double()?)),
            ColumnType::Bytes => Ok(hex(reader.blob()?)),
            ColumnType::Date => long_text("io.debezium.time.Date", reader.long()?).map(Into::into),
            ColumnType::TimeMillis => long_text("io.debezium.time.Time", reader.long()?).map(Into::into),
            ColumnType::TimeMicros => long_text("io.debezium.time.MicroTime", reader.long()?).map(Into::into),
            ColumnType::TimestampMillis => long_text("io.debezium.time.Timestamp", reader.long()?).map(Into::into),
            ColumnType::TimestampMicros => long_text("io.debezium.time.MicroTimestamp", reader.long()?).map(Into::into),
            ColumnType::TimestampTz | ColumnType::Uuid | ColumnType::Json | ColumnType::Text => {
                Ok(reader.text()?.to_owned())
            }
        }
    }
}

/// Reads one value by its plan, as canonical text. `None`: a kind that no column of ours has.
pub(crate) fn decode_text(plan: &Plan, reader: &mut Reader<'_>) -> Result<Option<Text>, AvroError> {
    Ok(Some(match plan {
        Plan::Boolean if reader.boolean()? => Text::new_static("true"),
        Plan::Boolean => Text::new_static("false"),
        Plan::Long(meaning) => long_text(meaning, reader.long()?)?,
        Plan::Float => float_text(reader.float()?).into(),
        Plan::Double => double_text(reader.double()?).into(),
        Plan::Bytes { scale: Some(scale) } => decimal_text(reader.blob()?, *scale).into(),
        Plan::Bytes { scale: None } => hex(reader.blob()?).into(),
        Plan::Text => reader.text()?.into(),
        Plan::Record(record) if record.name == "io.debezium.data.VariableScaleDecimal" => {
            variable_decimal(reader)?.into()
        }
        other => {
            other.skip(reader)?;
            return Ok(None);
        }
    }))
}

const EPOCH_DATE: civil::Date = civil::date(1970, 1, 1);
const DAY_MICROS: i64 = 86_400_000_000;

fn micros(text: &str) -> Option<i64> {
    let instant: civil::DateTime = text.parse().ok()?;
    let clock = instant.time().since((jiff::Unit::Microsecond, civil::Time::midnight())).ok()?;
    Some(i64::from(days(instant.date())?) * DAY_MICROS + clock.get_microseconds())
}

fn days(date: civil::Date) -> Option<i32> {
    date.since((jiff::Unit::Day, EPOCH_DATE)).ok().map(|span| span.get_days())
}

fn date_of(days: i64) -> Option<civil::Date> {
    let span = jiff::Span::new().try_days(days).ok()?;
    EPOCH_DATE.checked_add(span).ok()
}

/// A canonical time with zone (`2024-02-29T11:14:15.123456Z`) as microseconds since 1970.
pub fn instant_micros(text: &str) -> Option<i64> {
    micros(text.strip_suffix('Z')?)
}

fn instant_text(micros: i64) -> Option<String> {
    let date = date_of(micros.div_euclid(DAY_MICROS))?;
    Some(format!("{date}T{}", clock_text(micros.rem_euclid(DAY_MICROS))))
}

fn day_micros(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.split(':').map(|part| part.parse::<i64>().ok());
    let seconds = parts.next()?? * 3_600 + parts.next()?? * 60 + parts.next()??;
    let fraction = format!("{fraction:0<6}");
    if fraction.len() != 6 || parts.next().is_some() {
        return None;
    }
    Some(seconds * 1_000_000 + fraction.parse::<i64>().ok()?)
}

fn clock_text(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    format!("{:02}:{:02}:{:02}.{:06}", seconds / 3_600, seconds / 60 % 60, seconds % 60, micros % 1_000_000)
}

fn long_text(meaning: &str, value: i64) -> Result<Text, AvroError> {
    let kind = |kind| move || AvroError::Kind(kind);
    let text = match meaning {
        "io.debezium.time.Date" => date_of(value).ok_or_else(kind("date"))?.to_string(),
        "io.debezium.time.Time" => clock_text(value.checked_mul(1_000).ok_or_else(kind("time"))?),
        "io.debezium.time.MicroTime" => clock_text(value),
        "io.debezium.time.Timestamp" => {
            value.checked_mul(1_000).and_then(instant_text).ok_or_else(kind("timestamp"))?
        }
        "io.debezium.time.MicroTimestamp" => instant_text(value).ok_or_else(kind("timestamp"))?,
        _ => return Ok(itoa::Buffer::new().format(value).into()),
    };
    Ok(text.into())
}

fn float_text(value: f32) -> String {
    non_finite(f64::from(value)).map_or_else(|| format!("{value:?}"), str::to_owned)
}

fn double_text(value: f64) -> String {
    non_finite(value).map_or_else(|| format!("{value:?}"), str::to_owned)
}

fn non_finite(value: f64) -> Option<&'static str> {
    match value {
        v if v.is_nan() => Some("NaN"),
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ => None,
    }
}

fn decimal_text(unscaled: &[u8], scale: u32) -> String {
    plain(&BigInt::from_signed_bytes_be(unscaled), scale as usize)
}

fn variable_decimal(reader: &mut Reader<'_>) -> Result<String, AvroError> {
    let scale = reader.long()?;
    let digits = BigInt::from_signed_bytes_be(reader.blob()?);
    // PostgreSQL's numeric has at most 16,383 digits after the point; a negative scale comes from other writers only.
    match usize::try_from(scale) {
        Ok(scale) if scale <= 16_383 => Ok(plain(&digits, scale)),
        _ => Err(AvroError::Kind("VariableScaleDecimal.scale")),
    }
}

/// Digits with `scale` of them after the point, as PostgreSQL prints a numeric.
fn plain(digits: &BigInt, scale: usize) -> String {
    let text = digits.magnitude().to_string();
    let text = format!("{text:0>width$}", width = scale + 1);
    let (whole, fraction) = text.split_at(text.len() - scale);
    let sign = if digits.sign() == bigdecimal::num_bigint::Sign::Minus { "-" } else { "" };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::from("\\x"), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some((digit(pair[0])? << 4 | digit(*pair.get(1)?)?) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(oid: u32, modifier: i32, text: &str, canonical: &str) {
        let column = ColumnType::from_oid(oid, modifier);
        assert_eq!(column.canonical(text), canonical, "{column:?} {text}");
        let mut writer = Writer::default();
        if column.encode(text, &mut writer).is_none() {
            assert_eq!(text, canonical, "{column:?}: what Avro can't hold stays as it is");
            return;
        }
        let plan = Plan::compile(&column.schema().to_string()).expect("our own schema");
        let decoded = decode_text(&plan, &mut Reader::new(&writer.bytes)).expect("our own bytes");
        assert_eq!(decoded.as_deref(), Some(canonical), "{column:?} {text}");
    }

    #[test]
    fn log_and_loader_agree() {
        check(16, -1, "t", "true");
        check(21, -1, "-32768", "-32768");
        check(20, -1, "9223372036854775807", "9223372036854775807");
        check(700, -1, "1.5", "1.5");
        check(701, -1, "1e-300", "1e-300");
        check(701, -1, "NaN", "NaN");
        check(701, -1, "-Infinity", "-Infinity");
        check(1700, (10 << 16 | 2) + 4, "12345678.90", "12345678.90");
        check(1700, (10 << 16 | 2) + 4, "-0.01", "-0.01");
        check(1700, (10 << 16 | 2) + 4, "NaN", "NaN");
        check(1700, (5 << 16) + 4, "-1", "-1");
        check(1700, -1, "123456789012345678901234567890.123456789", "123456789012345678901234567890.123456789");
        check(17, -1, "\\xdeadbeef00ff", "\\xdeadbeef00ff");
        check(1082, -1, "2024-02-29", "2024-02-29");
        check(1082, -1, "infinity", "infinity");
        check(1082, -1, "0044-03-15 BC", "0044-03-15 BC");
        check(1083, -1, "13:14:15.123456", "13:14:15.123456");
        check(1083, 3, "23:59:59.999", "23:59:59.999000");
        check(1114, -1, "1969-12-31 23:59:59.999999", "1969-12-31T23:59:59.999999");
        check(1114, 0, "2024-02-29 13:14:15", "2024-02-29T13:14:15.000000");
        check(1184, -1, "2024-02-29 11:14:15.123456+00", "2024-02-29T11:14:15.123456Z");
        check(1184, -1, "1970-01-01 00:00:00+00", "1970-01-01T00:00:00.000000Z");
        check(1184, -1, "infinity", "infinity");
        check(1184, -1, "9999-12-31 23:59:59.999999+00", "9999-12-31T23:59:59.999999Z");
        check(1114, 3, "0001-01-01 00:00:00.001", "0001-01-01T00:00:00.001000");
        check(1114, -1, "10000-01-01 00:00:00", "10000-01-01 00:00:00");
        check(2950, -1, "6f1c7bd2-30ff-4c2d-8f4e-0d7bbd3a5a01", "6f1c7bd2-30ff-4c2d-8f4e-0d7bbd3a5a01");
        check(25, -1, "plain ünïcödé ✓", "plain ünïcödé ✓");
        check(1042, 9, "ab   ", "ab   ");
        check(1007, -1, "{1,2,3}", "{1,2,3}");
    }
}
