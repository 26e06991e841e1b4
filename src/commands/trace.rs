//! Reads a trace of sales: CSV with a header, gzipped or not. What is wrong is named with its line.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use csv::{ErrorKind, Reader, StringRecord};
use flate2::read::MultiGzDecoder;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use lockstep_process::Failure;
use lockstep_warmer::forecast::hour::Hour;

const COLUMNS: [&str; 3] = ["ts", "product_id", "kind"];
const GZIP: [u8; 2] = [0x1f, 0x8b];
const BUFFER_BYTES: usize = 1 << 16;
/// A real shop's sales.
pub(crate) const SALES: &[u8] = include_bytes!("../../data/online-retail-ii.csv.gz");
const REMEDY: &str = "data/README.md has the format";

/// One line of an invoice.
pub(crate) struct Line<'t> {
    pub hour: Hour,
    pub product: &'t str,
}

/// A trace under way.
pub(crate) struct Trace {
    name: String,
    bytes: u64,
    read: Arc<AtomicU64>,
    reader: Reader<Box<dyn Read>>,
    /// Where [`COLUMNS`] stand.
    places: [usize; 3],
    record: StringRecord,
    /// The text of the last time and its hour: rows of one basket share it.
    last: (String, Hour),
    first: Option<String>,
}

impl Trace {
    /// Opens a file and reads its header.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let unreadable = |error: std::io::Error| {
            Failure::configuration(format!("can't read the trace {name}"))
                .because(error)
                .remedy("name a readable file with --trace")
        };
        let file = File::open(path).map_err(unreadable)?;
        let bytes = file.metadata().map_err(unreadable)?.len();
        Self::of(name, bytes, Box::new(file))
    }

    /// The built-in sales.
    pub fn built_in() -> Result<Self, Failure> {
        Self::of("the built-in trace".to_owned(), SALES.len() as u64, Box::new(SALES))
    }

    fn of(name: String, bytes: u64, file: Box<dyn Read>) -> Result<Self, Failure> {
        let read = Arc::new(AtomicU64::new(0));
        let mut file = BufReader::with_capacity(BUFFER_BYTES, Counted { file, read: Arc::clone(&read) });
        let unreadable = |error: std::io::Error| {
            Failure::configuration(format!("can't read the trace {name}")).because(error).remedy(REMEDY)
        };
        let zipped = file.fill_buf().map_err(unreadable)?.starts_with(&GZIP);
        let plain: Box<dyn Read> = if zipped { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        let mut reader = csv::Reader::from_reader(plain);
        let header = reader.headers().map_err(|error| bad(&name, &error, 1))?.clone();
        let place = |column: &str| {
            let place = header.iter().position(|title| title == column);
            place.ok_or_else(|| Failure::configuration(format!("{name}, line 1: no column `{column}`")).remedy(REMEDY))
        };
        let places = [place(COLUMNS[0])?, place(COLUMNS[1])?, place(COLUMNS[2])?];
        let last = (String::new(), Hour::EARLIEST);
        Ok(Trace { name, bytes, read, reader, places, record: StringRecord::new(), last, first: None })
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// From where to where it went so far.
    pub fn span(&self) -> String {
        self.first
            .as_ref()
            .map_or_else(|| "nothing: it has no purchase".to_owned(), |first| format!("{first} to {}", self.last.0))
    }

    /// The next line of an invoice; credit notes are passed over, since what comes back is not asked for.
    pub fn next_purchase(&mut self) -> Result<Option<Line<'_>>, Failure> {
        loop {
            let before = self.reader.position().line();
            let more = self.reader.read_record(&mut self.record).map_err(|error| bad(&self.name, &error, before))?;
            if !more {
                return Ok(None);
            }
            let hour = self.hour()?;
            match self.field(2) {
                "purchase" => break self.purchase(hour),
                "cancel" => {}
                _ => return Err(self.wrong("`kind` is neither purchase nor cancel")),
            }
        }
    }

    fn purchase(&mut self, hour: Hour) -> Result<Option<Line<'_>>, Failure> {
        if self.field(1).is_empty() {
            return Err(self.wrong("`product_id` is empty"));
        }
        if self.first.is_none() {
            self.first = Some(self.last.0.clone());
        }
        Ok(Some(Line { hour, product: self.field(1) }))
    }

    fn hour(&mut self) -> Result<Hour, Failure> {
        let text = self.field(0);
        if text != self.last.0 {
            let hour = local_hour(text).ok_or_else(|| self.wrong("`ts` is not a time such as 2011-03-01T14:05:00"))?;
            if hour < self.last.1 {
                return Err(self.wrong("the time goes back").remedy("sort the trace by `ts`"));
            }
            self.last = (text.to_owned(), hour);
        }
        Ok(self.last.1)
    }

    fn field(&self, column: usize) -> &str {
        self.record.get(self.places[column]).unwrap_or_default()
    }

    fn wrong(&self, what: &str) -> Failure {
        let line = self.record.position().map_or(0, csv::Position::line);
        Failure::configuration(format!("{}, line {line}: {what}", self.name)).remedy(REMEDY)
    }
}

/// Without the values that csv's own texts may quote.
fn bad(name: &str, error: &csv::Error, before: u64) -> Failure {
    let line = error.position().map_or(before, csv::Position::line);
    let what = match error.kind() {
        ErrorKind::Utf8 { .. } => "not UTF-8".to_owned(),
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} fields, where the header has {expected_len}")
        }
        ErrorKind::Io(error) => format!("can't go on reading: {error}"),
        _ => "not CSV".to_owned(),
    };
    Failure::configuration(format!("{name}, line {line}: {what}")).remedy(REMEDY)
}

/// Counts what is read of the file itself, so that progress is known of a gzipped one too.
struct Counted {
    file: Box<dyn Read>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// `2011-03-01`, `2011-03-01T14:00`.
pub(crate) fn hour(text: &str) -> Result<Hour, String> {
    local_hour(text).ok_or_else(|| format!("`{text}` is not a time; write 2011-03-01 or 2011-03-01T14:00"))
}

/// The hour of a local time, taken as UTC: all that counts is that hours follow one another.
fn local_hour(text: &str) -> Option<Hour> {
    let time: DateTime = text.parse().ok()?;
    let instant = time.to_zoned_datetime(TimeZone::UTC).ok()?.timestamp();
    Some(Hour::of_micros(instant.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn check(text: &[u8], expected: &str) {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text).expect("written");
        let play = |path: &Path| {
            let mut trace = Trace::open(path)?;
            let mut lines = Vec::new();
            while let Some(line) = trace.next_purchase()? {
                lines.push(format!("{}@{}", line.product, line.hour.get()));
            }
            Ok::<_, Failure>(lines.join(" "))
        };
        let name = file.path().display().to_string();
        let said = play(file.path()).unwrap_or_else(|failure| failure.to_string().replace(&name, "F"));
        assert!(said.starts_with(expected), "{said:?} does not begin with {expected:?}");
    }

    #[test]
    fn lines_come_as_they_are_sold() {
        check(b"kind,ts,product_id\npurchase,1970-01-01T05:00:00,a\ncancel,1970-01-01T05:00:00,b\npurchase,1970-01-02T00:59:00,c\n", "a@5 c@24");
        check(b"ts,product_id,kind\n", "");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let row = |rest: &str| format!("ts,product_id,kind\n1970-01-01T05:00:00,a,purchase\n{rest}\n").into_bytes();
        check(b"ts,kind\n", "F, line 1: no column `product_id`; data/README.md");
        check(&row("1970-01-01T04:00:00,a,purchase"), "F, line 3: the time goes back; sort");
        check(&row("yesterday,a,purchase"), "F, line 3: `ts` is not a time");
        check(&row("1970-01-01T05:00:00,,purchase"), "F, line 3: `product_id` is empty");
        check(&row("1970-01-01T05:00:00,a,gift"), "F, line 3: `kind` is neither");
        check(&row("1970-01-01T05:00:00,a"), "F, line 3: 2 fields, where the header has 3");
        check(b"ts,product_id,kind\n\xff\xff,a,purchase\n", "F, line 2: not UTF-8");
        check(b"\x1f\x8bnot gzip at all", "F, line 1: can't go on reading");
    }
}
