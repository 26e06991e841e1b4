//! Avro's binary encoding, and plans compiled from a writer's schema.
//!
//! The hot path decodes by plan, without building a tree of values; `apache-avro` is the reference in the tests.

mod plan;

pub use plan::{Plan, RecordPlan};

/// Appends Avro values to a buffer.
#[derive(Default)]
pub struct Writer {
    /// What has been written.
    pub bytes: Vec<u8>,
}

impl Writer {
    /// A writer that begins with Confluent's frame: byte 0, then the schema's id, big-endian.
    pub fn framed(schema_id: u32) -> Self {
        let mut bytes = Vec::with_capacity(512);
        bytes.push(0);
        bytes.extend_from_slice(&schema_id.to_be_bytes());
        Writer { bytes }
    }

    /// int and long: zigzag, then base 128.
    pub fn long(&mut self, value: i64) {
        let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
        while zigzag >= 0x80 {
            self.bytes.push(zigzag as u8 | 0x80);
            zigzag >>= 7;
        }
        self.bytes.push(zigzag as u8);
    }

    /// A boolean.
    pub fn boolean(&mut self, value: bool) {
        self.bytes.push(u8::from(value));
    }

    /// bytes and string: length, then content.
    pub fn blob(&mut self, value: &[u8]) {
        self.long(value.len() as i64);
        self.bytes.extend_from_slice(value);
    }

    /// A string of two numbers in digits, and what stands before, between and behind them: in every record, so without the
    /// machinery of `format!`.
    pub fn digits(&mut self, around: [&str; 3], numbers: [u64; 2]) {
        let mut buffers = [itoa::Buffer::new(), itoa::Buffer::new()];
        let [first, second] = &mut buffers;
        let [before, between, behind] = around;
        let parts = [before, first.format(numbers[0]), between, second.format(numbers[1]), behind];
        self.long(parts.iter().map(|part| part.len()).sum::<usize>() as i64);
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part.as_bytes()));
    }

    /// A float.
    pub fn float(&mut self, value: f32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// A double.
    pub fn double(&mut self, value: f64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// The null branch, or the value branch and then `write`, of a union `["null", T]`.
    pub fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.long(i64::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }
}

/// Splits Confluent's frame off a record.
pub fn unframe(record: &[u8]) -> Result<(u32, &[u8]), AvroError> {
    match record {
        [0, a, b, c, d, body @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), body)),
        _ => Err(AvroError::Frame),
    }
}

/// Takes Avro values from a slice. Every length is checked before it is used.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// int and long.
    pub fn long(&mut self) -> Result<i64, AvroError> {
        let mut zigzag = 0_u64;
        for shift in (0..70).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(AvroError::End)?;
            self.rest = rest;
            if shift == 63 && byte > 1 {
                break;
            }
            zigzag |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64));
            }
        }
        Err(AvroError::Varint)
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], AvroError> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(AvroError::End)?;
        self.rest = rest;
        Ok(head)
    }

    /// A boolean.
    pub fn boolean(&mut self) -> Result<bool, AvroError> {
        match self.take(1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(AvroError::Boolean),
        }
    }

    /// bytes.
    pub fn blob(&mut self) -> Result<&'a [u8], AvroError> {
        let length = self.length()?;
        self.take(length)
    }

    /// A string.
    pub fn text(&mut self) -> Result<&'a str, AvroError> {
        std::str::from_utf8(self.blob()?).map_err(|_| AvroError::Utf8)
    }

    /// A float.
    pub fn float(&mut self) -> Result<f32, AvroError> {
        Ok(f32::from_le_bytes(self.array()?))
    }

    /// A double.
    pub fn double(&mut self) -> Result<f64, AvroError> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], AvroError> {
        self.take(N)?.try_into().map_err(|_| AvroError::End)
    }

    fn length(&mut self) -> Result<usize, AvroError> {
        usize::try_from(self.long()?).map_err(|_| AvroError::Length)
    }

    /// Reads the items of an array or the pairs of a map, block by block.
    pub fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), AvroError>) -> Result<(), AvroError> {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                self.long()?;
            }
            for _ in 0..count.unsigned_abs() {
                let left = self.rest.len();
                item(self)?;
                // Items of no bytes (nulls, records of nulls) say nothing, however many there are said to be.
                if self.rest.len() == left {
                    break;
                }
            }
        }
    }
}

/// Bytes that are not what their schema says, or a schema that is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AvroError {
    /// Not byte 0 and an id.
    #[error("the record does not begin with Confluent's frame (byte 0 and a schema id)")]
    Frame,
    /// Cut short.
    #[error("the record ends in the middle of a value")]
    End,
    /// A varint of more than 64 bits.
    #[error("an integer of more than 64 bits")]
    Varint,
    /// A boolean that is neither.
    #[error("a boolean that is neither 0 nor 1")]
    Boolean,
    /// A negative length.
    #[error("a negative length")]
    Length,
    /// A string that is not UTF-8.
    #[error("a string that is not UTF-8")]
    Utf8,
    /// A union's branch that does not exist.
    #[error("a branch that the union does not have")]
    Branch,
    /// A value of another kind than was expected there.
    #[error("field {0} is not of the kind that belongs there")]
    Kind(&'static str),
    /// A field that the schema lacks.
    #[error("the schema has no field {0}")]
    Missing(&'static str),
    /// Not a schema.
    #[error("not a usable Avro schema: {0}")]
    Schema(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn integers_and_blobs_come_back(value: i64, blob: Vec<u8>) {
            let mut writer = Writer::default();
            writer.long(value);
            writer.blob(&blob);
            let mut reader = Reader::new(&writer.bytes);
            prop_assert_eq!(reader.long(), Ok(value));
            prop_assert_eq!(reader.blob(), Ok(blob.as_slice()));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn items_of_no_bytes_take_no_time(count: i64) {
            let mut writer = Writer::default();
            writer.long(count);
            // The size of a block whose count is negative.
            writer.long(0);
            writer.long(0);
            let plan = Plan::compile(r#"{"type":"array","items":"null"}"#).expect("a schema");
            prop_assert_eq!(plan.skip(&mut Reader::new(&writer.bytes)), Ok(()));
        }

        #[test]
        fn any_bytes_are_an_answer_or_an_error(bytes: Vec<u8>) {
            let schema = r#"{"type":"record","name":"R","fields":[{"name":"a","type":["null",{"type":"array","items":"long"}]},
                {"name":"b","type":{"type":"map","values":"string"}},{"name":"c","type":["null","R2"]}]}"#.replace("\"R2\"", "\"double\"");
            let plan = Plan::compile(&schema).expect("a schema");
            let mut reader = Reader::new(&bytes);
            while plan.skip(&mut reader).is_ok() && !reader.is_empty() {}
        }
    }

    /// A short text can name more than anybody would live to walk.
    #[test]
    fn a_schema_that_is_too_much_is_refused() {
        let named = |n: u32| {
            format!(
                r#"{{"type":"record","name":"R{n}","fields":[{{"name":"a","type":"R{0}"}},{{"name":"b","type":"R{0}"}}]}}"#,
                n - 1
            )
        };
        let nested = |depth| {
            let first = r#"{"type":"record","name":"R0","fields":[{"name":"n","type":"null"}]}"#.to_owned();
            let types: Vec<String> = std::iter::once(first).chain((1..depth).map(named)).collect();
            let fields: Vec<String> =
                types.iter().enumerate().map(|(at, kind)| format!(r#"{{"name":"f{at}","type":{kind}}}"#)).collect();
            Plan::compile(&format!(r#"{{"type":"record","name":"All","fields":[{}]}}"#, fields.join(",")))
        };
        assert!(nested(12).is_ok());
        let why = nested(30).expect_err("a thousand million nulls").to_string();
        assert!(why.contains("100000 parts"), "{why}");
        let decimal = |scale: u32| {
            let schema = format!(r#"{{"type":"bytes","logicalType":"decimal","precision":{scale},"scale":{scale}}}"#);
            Plan::compile(&schema).map(drop)
        };
        assert_eq!(decimal(1_000), Ok(()));
        assert!(decimal(70_000).is_err(), "no text is put together of so many digits");
    }
}
