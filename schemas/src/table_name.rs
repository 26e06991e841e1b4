//! A table's name as one text: `schema.table`, each as the database has it.
//!
//! A schema with a dot in it would leave it open where the table begins, so such a part stands in double quotes, as in
//! SQL: `"my.schema".table`. One table has one text, whoever makes it: policy, log and records are compared by it.

use std::borrow::Cow;

/// The one text of a table.
pub fn full_name(schema: &str, table: &str) -> String {
    let quoted = |part: &str| format!("\"{}\"", part.replace('"', "\"\""));
    let schema =
        if schema.contains('.') || schema.starts_with('"') { quoted(schema).into() } else { Cow::from(schema) };
    let table = if table.starts_with('"') { quoted(table).into() } else { Cow::from(table) };
    format!("{schema}.{table}")
}

/// Schema and table of a text; a part that begins with a double quote ends with one. `None`: it is not of that form, or has
/// a zero byte, which no name of the database has.
pub fn split(text: &str) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    if text.contains('\0') {
        return None;
    }
    let (schema, rest) = if text.starts_with('"') {
        let (schema, rest) = unquote(text)?;
        (schema, rest.strip_prefix('.')?)
    } else {
        let (schema, rest) = text.split_once('.')?;
        (schema.into(), rest)
    };
    let table = if rest.starts_with('"') { unquote(rest).filter(|(_, rest)| rest.is_empty())?.0 } else { rest.into() };
    (!schema.is_empty() && !table.is_empty()).then_some((schema, table))
}

/// What stands in the quotes at the beginning, and what comes behind them.
fn unquote(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut at = 0;
    loop {
        at += inner[at..].find('"')?;
        match inner[at + 1..].starts_with('"') {
            true => at += 2,
            false => return Some((inner[..at].replace("\"\"", "\"").into(), &inner[at + 1..])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: Option<(&str, &str)>) {
        let found = split(text);
        let found = found.as_ref().map(|(schema, table)| (&**schema, &**table));
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn names() {
        check("public.prices", Some(("public", "prices")));
        check("public.Unit Price.2024", Some(("public", "Unit Price.2024")));
        check("\"my.schema\".prices", Some(("my.schema", "prices")));
        check("\"my.schema\".\"say \"\"so\"\"\"", Some(("my.schema", "say \"so\"")));
        check("public.\"prices\"", Some(("public", "prices")));
        for bad in ["prices", "public.", ".prices", "\"a.b", "\"a\"b.c", "a.\"b\"c", "", "a.b\0", "\0a.b"] {
            check(bad, None);
        }
    }

    proptest! {
        #[test]
        fn one_table_has_one_text(schema in "[a\\.\" é]{1,6}", table in "[a\\.\" é]{1,6}") {
            let text = full_name(&schema, &table);
            let found = split(&text).expect("a name");
            prop_assert_eq!((&*found.0, &*found.1), (&*schema, &*table));
        }
    }
}
