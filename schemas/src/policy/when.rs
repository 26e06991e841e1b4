//! `when = "stock crosses 0"`: a test on the columns of a row, before and after an update. A small closed language.

use std::fmt;
use std::sync::Arc;

use bigdecimal::BigDecimal;

use crate::change::{Cell, Row};

/// A longer number is no number to a test.
const DIGITS_MAX: usize = 400;

/// A test: any of these, each of which needs all of its terms.
#[derive(Clone, Debug, PartialEq)]
pub struct When {
    text: String,
    any: Vec<Vec<Term>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Term {
    column: Arc<str>,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Changes,
    Crosses(BigDecimal),
    Becomes(Literal),
    Leaves(Literal),
}

#[derive(Clone, Debug, PartialEq)]
enum Literal {
    Null,
    Text(String),
    /// Written without quotes: compared as a number where the column's value is one.
    Number(BigDecimal, String),
}

/// A word of the language, and whether it stood in quotes.
struct Word {
    text: String,
    quoted: Option<char>,
}

impl When {
    /// Reads a test. The answer to a mistake says what may be written.
    pub fn parse(text: &str) -> Result<When, String> {
        let refuse = |why: String| format!("`{text}`: {why}; write for instance `stock crosses 0 or active changes`");
        let words = words(text).map_err(refuse)?;
        let any = words.split(|word| word.is("or")).map(|all| all.split(|word| word.is("and")).map(term).collect());
        let any = any.collect::<Result<_, _>>().map_err(refuse)?;
        Ok(When { text: text.to_owned(), any })
    }

    /// The columns that it reads: the log must have their old values.
    pub fn columns(&self) -> impl Iterator<Item = &Arc<str>> {
        self.any.iter().flatten().map(|term| &term.column)
    }

    /// Whether an update concerns the view. What is not known is taken to concern it: nothing is passed over on a doubt.
    pub fn holds(&self, before: Option<&Row>, after: &Row) -> bool {
        let holds = |term: &Term| match before.map_or(&Cell::Unknown, |row| row.get(&term.column)) {
            Cell::Unknown => true,
            old => term.test.holds(old, after.get(&term.column)),
        };
        self.any.iter().any(|all| all.iter().all(holds))
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Word {
    fn is(&self, word: &str) -> bool {
        self.quoted.is_none() && self.text == word
    }
}

impl Test {
    fn holds(&self, old: &Cell, new: &Cell) -> bool {
        if *new == Cell::Unknown {
            return true;
        }
        match self {
            Test::Changes => old != new,
            Test::Crosses(bound) => match (side(old, bound), side(new, bound)) {
                (Some(old), Some(new)) => old != new,
                // Not a number: only what did not change is known not to have crossed.
                _ => old != new,
            },
            Test::Becomes(value) => value.is(new) && !value.is(old),
            Test::Leaves(value) => value.is(old) && !value.is(new),
        }
    }
}

/// Above it, or not.
fn side(cell: &Cell, bound: &BigDecimal) -> Option<bool> {
    let Cell::Value(text) = cell else { return None };
    number(text).map(|number| number > *bound)
}

/// A text that is a number of sane length: what is compared with another is written out in full first.
pub fn number(text: &str) -> Option<BigDecimal> {
    let exponent = text.split_once(['e', 'E']).map_or(Some(0), |(_, exponent)| exponent.parse::<i32>().ok())?;
    let sane = text.len() <= DIGITS_MAX && exponent.unsigned_abs() as usize <= DIGITS_MAX;
    sane.then(|| text.parse().ok()).flatten()
}

impl Literal {
    fn is(&self, cell: &Cell) -> bool {
        match (self, cell) {
            (Literal::Null, cell) => *cell == Cell::Null,
            (Literal::Text(wanted), Cell::Value(text)) => text == wanted,
            (Literal::Number(wanted, written), Cell::Value(text)) => {
                number(text).map_or(text == written, |number| number == *wanted)
            }
            _ => false,
        }
    }
}

fn term(words: &[Word]) -> Result<Term, String> {
    let (column, rest) = words.split_first().ok_or("a column is missing")?;
    if column.quoted == Some('\'') {
        return Err("a column's name stands in double quotes, or in none".to_owned());
    }
    let column = Arc::from(&*column.text);
    let [verb, value @ ..] = rest else { return Err(format!("what of `{column}`?")) };
    let test = match (verb.text.as_str(), value) {
        _ if verb.quoted.is_some() => return Err("a column and a verb are missing".to_owned()),
        ("changes", []) => Test::Changes,
        ("crosses", [bound]) => {
            Test::Crosses(number(&bound.text).ok_or_else(|| format!("`{}` is not a number", bound.text))?)
        }
        ("becomes", [value]) => Test::Becomes(literal(value)?),
        ("leaves", [value]) => Test::Leaves(literal(value)?),
        ("changes" | "crosses" | "becomes" | "leaves", _) => {
            return Err(
                "`changes` has no value, the other verbs have one; tests are joined by `or` and `and`".to_owned()
            );
        }
        (verb, _) => return Err(format!("`{verb}` is not a test; they are changes, crosses, becomes, leaves")),
    };
    Ok(Term { column, test })
}

fn literal(word: &Word) -> Result<Literal, String> {
    let text = word.text.clone();
    match word.quoted {
        Some('\'') => Ok(Literal::Text(text)),
        Some(_) => Err("a text stands in single quotes".to_owned()),
        None if text == "null" => Ok(Literal::Null),
        None => Ok(number(&text).map_or(Literal::Text(text.clone()), |number| Literal::Number(number, text))),
    }
}

/// Words at white space; in single or double quotes anything, the quote itself twice.
fn words(text: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '\'' | '"' => quoted(&rest[1..], first)?,
            _ => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                (Word { text: rest[..end].to_owned(), quoted: None }, &rest[end..])
            }
        };
        words.push(word);
        rest = after.trim_start();
    }
    Ok(words)
}

fn quoted(text: &str, quote: char) -> Result<(Word, &str), String> {
    let mut word = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once(quote).ok_or_else(|| format!("a {quote} without its end"))?;
        word.push_str(part);
        match after.strip_prefix(quote) {
            Some(more) => {
                word.push(quote);
                rest = more;
            }
            None => return Ok((Word { text: word, quoted: Some(quote) }, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(text: &str) -> Cell {
        match text {
            "?" => Cell::Unknown,
            "null" => Cell::Null,
            text => Cell::Value(text.into()),
        }
    }

    fn row(cells: &[(&str, &str)]) -> Row {
        let columns = cells.iter().map(|(name, _)| Arc::from(*name)).collect();
        Row::new(columns, cells.iter().map(|(_, text)| cell(text)).collect())
    }

    #[test]
    fn tests_hold_between_old_and_new() {
        let check = |test: &str, old: &str, new: &str, expected: bool| {
            let when = When::parse(test).unwrap_or_else(|why| panic!("{why}"));
            let name = when.columns().next().expect("a column").to_string();
            let (before, after) = (row(&[(&name, old)]), row(&[(&name, new)]));
            assert_eq!(when.holds(Some(&before), &after), expected, "{test}: {old} -> {new}");
        };
        for (old, new, expected) in [
            ("5", "4", false),
            ("1", "0", true),
            ("0", "1", true),
            ("0", "0", false),
            ("-1", "0", false),
            ("null", "3", true),
            ("null", "null", false),
            ("?", "3", true),
            ("3", "?", true),
            ("0.50", "0.00", true),
            ("NaN", "NaN", false),
            ("1e999999999", "2e999999999", true),
            ("1.5e+02", "-1.5e-02", true),
            ("many", "few", true),
        ] {
            check("stock crosses 0", old, new, expected);
        }
        check("active changes", "true", "false", true);
        check("active changes", "true", "true", false);
        check("state becomes sold", "on sale", "sold", true);
        check("state becomes sold", "sold", "sold", false);
        check("state leaves 'on sale'", "on sale", "sold", true);
        check("state leaves 'on sale'", "sold", "on sale", false);
        check("price becomes 0", "1.00", "0.00", true);
        check("price becomes '0'", "1.00", "0.00", false);
        check("\"Unit Price\" becomes null", "1", "null", true);
        check("name becomes 'it''s'", "", "it's", true);
    }

    #[test]
    fn or_is_weaker_than_and() {
        let when = When::parse("a changes and b becomes 1 or c crosses 10").expect("a test");
        let holds = |old: [&str; 3], new: [&str; 3]| {
            let of = |texts: [&str; 3]| row(&[("a", texts[0]), ("b", texts[1]), ("c", texts[2])]);
            when.holds(Some(&of(old)), &of(new))
        };
        assert!(!holds(["1", "0", "5"], ["2", "0", "5"]));
        assert!(holds(["1", "0", "5"], ["2", "1", "5"]));
        assert!(holds(["1", "0", "5"], ["1", "0", "11"]));
        assert!(!holds(["1", "?", "5"], ["1", "1", "5"]), "a is known not to have changed");
        assert!(when.holds(None, &row(&[("a", "1")])), "no old row");
    }

    #[test]
    fn mistakes_are_told() {
        for (test, why) in [
            ("", "a column is missing"),
            ("stock", "what of `stock`?"),
            ("stock grows", "`grows` is not a test"),
            ("stock crosses", "the other verbs have one"),
            ("stock crosses zero", "not a number"),
            ("stock changes 1", "has no value"),
            ("stock changes or", "a column is missing"),
            ("'stock' changes", "double quotes"),
            ("state becomes \"sold\"", "single quotes"),
            ("state becomes 'sold", "without its end"),
        ] {
            let refused = When::parse(test).expect_err(test);
            assert!(refused.contains(why), "{refused}");
        }
    }
}
