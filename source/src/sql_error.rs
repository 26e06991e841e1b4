//! What may be said of an error of the database. PostgreSQL quotes the values of rows in some of its texts (`invalid input
//! syntax for type uuid: "..."`); those are left out, for logs are read by more people than the rows.

use std::fmt;

/// Classes of SQLSTATE whose texts name what belongs to the server or the schema: connections, rights, settings, tables,
/// resources, concurrency. A text of any other class (22, 23, 44, P0) may quote a value.
const CLASSES_WITHOUT_VALUES: [&str; 14] =
    ["08", "0A", "25", "28", "3D", "3F", "40", "42", "53", "54", "55", "57", "58", "F0"];
/// Of these, a syntax error quotes the statement.
const SYNTAX_ERROR: &str = "42601";

/// An error of the database that can be shown. It has no source: that would be the error as the client tells it.
pub struct SqlError(sqlx::Error);

impl SqlError {
    /// Its SQLSTATE, where the server gave one.
    pub fn code(&self) -> Option<String> {
        self.0.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned())
    }
}

impl From<sqlx::Error> for SqlError {
    fn from(error: sqlx::Error) -> Self {
        SqlError(error)
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0))
    }
}

impl fmt::Debug for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for SqlError {}

/// The text of an error, without any value of a row.
pub fn shown(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(refusal) => {
            let code = refusal.code().unwrap_or_default();
            refused(&code, refusal.message(), refusal.constraint(), refusal.table())
        }
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => {
            "a value of another form than was expected".to_owned()
        }
        sqlx::Error::Encode(_) => "a value that can't be sent".to_owned(),
        other => other.to_string(),
    }
}

/// The text of a refusal by the server: all of it, or what names no value.
pub fn refused(code: &str, message: &str, constraint: Option<&str>, table: Option<&str>) -> String {
    let names_only = CLASSES_WITHOUT_VALUES.iter().any(|class| code.starts_with(class)) && code != SYNTAX_ERROR;
    if names_only {
        return format!("{message} (SQLSTATE {code})");
    }
    let constraint = constraint.map(|name| format!(", constraint {name}")).unwrap_or_default();
    let table = table.map(|name| format!(", table {name}")).unwrap_or_default();
    format!("refused with SQLSTATE {code}{constraint}{table}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_quote_a_value_is_left_out() {
        let check = |code, message, constraint, table, expected: &str| {
            assert_eq!(refused(code, message, constraint, table), expected);
        };
        let taken = "duplicate key value violates unique constraint \"users_email\"";
        check(
            "23505",
            taken,
            Some("users_email"),
            Some("users"),
            "refused with SQLSTATE 23505, constraint users_email, table users",
        );
        check("22P02", "invalid input syntax for type uuid: \"a@b\"", None, None, "refused with SQLSTATE 22P02");
        check("P0001", "no such customer: a@b", None, None, "refused with SQLSTATE P0001");
        check("42601", "syntax error at or near \"a@b\"", None, None, "refused with SQLSTATE 42601");
        let denied = "permission denied for table users";
        check("42501", denied, None, None, "permission denied for table users (SQLSTATE 42501)");
        let decoded = sqlx::Error::Decode("a@b is no number".into());
        assert!(!shown(&decoded).contains("a@b"));
    }
}
