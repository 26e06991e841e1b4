//! The edge over HTTP: what it keeps of a page, without having it fetch one.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use lockstep_process::config::EdgeConfig;
use lockstep_process::failure::with_causes;
use lockstep_schemas::policy::View;
use lockstep_schemas::position::Position;
use serde_json::{Map, Value as Json};

use crate::AuditError;
use crate::judge::{Copy, Fields, Form};

const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);
const PAGES_AT_ONCE: usize = 8;
const BODY_BYTES_MAX: usize = 4 << 20;

/// What `only-if-cached` is answered where nothing is kept.
const NOTHING_KEPT: u16 = 504;

/// The edge.
pub(crate) struct Edge {
    url: String,
    client: reqwest::Client,
}

impl Edge {
    pub fn new(config: &EdgeConfig) -> Result<Self, AuditError> {
        // Its addresses may hold a password: they are never part of an error.
        let client = reqwest::Client::builder().timeout(ANSWER_WAIT_MAX).no_proxy().build();
        let client = client.map_err(|error| AuditError::Edge(told(error)))?;
        Ok(Edge { url: config.url.expose().trim_end_matches('/').to_owned(), client })
    }

    /// What it keeps under each path; an empty copy where it keeps nothing.
    pub async fn read(&self, view: &View, paths: &[&str]) -> Result<Vec<Copy>, AuditError> {
        let pages: Vec<_> = paths.iter().map(|path| self.page(view, (*path).to_owned())).collect();
        let looked: Vec<_> = stream::iter(pages).buffered(PAGES_AT_ONCE).collect().await;
        looked.into_iter().collect()
    }

    /// `only-if-cached` asks for what is there, or for a 504 (RFC 9111, 5.2.1.7). An edge that does not know it fetches the
    /// page, and says by its headers that it had none.
    async fn page(&self, view: &View, path: String) -> Result<Copy, AuditError> {
        let failed = |error: reqwest::Error| AuditError::Edge(told(error));
        let url = format!("{}{path}", self.url);
        let response = self.client.get(url).header("cache-control", "only-if-cached").send().await.map_err(failed)?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = response.status().as_u16();
        if status == NOTHING_KEPT {
            return Ok(Copy::default());
        }
        if !matches!(status, 200 | 404) {
            return Err(AuditError::Edge(format!("it answered {status} instead of a page")));
        }
        let was_kept = match (header("x-cache"), header("age").and_then(|age| age.parse::<u64>().ok())) {
            (Some(cache), _) => cache.to_ascii_lowercase().contains("hit"),
            (None, Some(age)) => age > 0,
            (None, None) => {
                let why = "it says neither by X-Cache nor by Age whether it had kept a page: is that the edge?";
                return Err(AuditError::Edge(why.to_owned()));
            }
        };
        if !was_kept {
            return Ok(Copy::default());
        }
        let low = header("lockstep-position").and_then(|text| text.parse::<Position>().ok());
        let is_json = header("content-type").is_none_or(|kind| kind.to_ascii_lowercase().contains("json"));
        let other = |form| Ok(Copy { form, ..Copy::default() });
        let mut fields = match status {
            200 if !is_json => return other(Form::Opaque("the page is no JSON")),
            200 => {
                let Some(body) = body_of(response).await.map_err(failed)? else {
                    return other(Form::Opaque("the page is too large to be compared"));
                };
                let Ok(body) = serde_json::from_slice(&body) else { return other(Form::Instead("no JSON object")) };
                columns(view, &body)
            }
            _ => Fields::from([("_neg".to_owned(), "1".to_owned())]),
        };
        fields.insert("_low".to_owned(), low.unwrap_or(Position::LEAST).to_string());
        Ok(Copy { fields, ..Copy::default() })
    }
}

/// An error with what caused it, and without the address, which may hold a password.
fn told(error: reqwest::Error) -> String {
    let error = error.without_url();
    with_causes(error.to_string(), std::error::Error::source(&error))
}

/// `None`: it is too large.
async fn body_of(mut response: reqwest::Response) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await? {
        if body.len() + part.len() > BODY_BYTES_MAX {
            return Ok(None);
        }
        body.extend_from_slice(&part);
    }
    Ok(Some(body))
}

/// A text as one segment of a path (RFC 3986, 3.3). Its own, as all here: `why` and the purges have another.
pub(crate) fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}

/// JSON values as the text that the database gives; null is absent. Rows stand under the name of them all.
fn columns(view: &View, body: &Map<String, Json>) -> Fields {
    let text = |value: &Json| match value {
        Json::Null => None,
        Json::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let mut fields = Fields::new();
    for (name, value) in body {
        let source = view.sources.iter().find(|source| source.rows.as_ref().is_some_and(|rows| rows.name() == name));
        let (Some((source, rows)), Json::Object(many)) =
            (source.and_then(|source| Some((source, source.rows.as_ref()?))), value)
        else {
            // A page may say more than the view that it is purged by.
            fields.extend(text(value).filter(|_| view.has_field(name)).map(|text| (name.clone(), text)));
            continue;
        };
        for (row, columns) in many {
            let texts: Vec<Option<String>> = source.columns.iter().map(|column| text(&columns[&**column])).collect();
            let joined = source.row_text(|at, _| texts.get(at)?.as_deref());
            fields.insert(rows.field(row).to_string(), joined);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use lockstep_schemas::policy::{DEFAULT, Policy};

    use super::*;

    #[test]
    fn a_page_is_compared_as_text() {
        let policy = Policy::parse(DEFAULT).expect("the default policy");
        let check = |view: &str, body: Json, expected: &[(&str, &str)]| {
            let expected: Fields = expected.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())).collect();
            assert_eq!(columns(&policy.views[view], body.as_object().expect("an object")), expected);
        };
        check(
            "product_page",
            serde_json::json!({"product_id": "1", "active": true, "stock": 5, "category": null}),
            &[("product_id", "1"), ("active", "true"), ("stock", "5")],
        );
        check(
            "cart",
            serde_json::json!({"user_id": 7, "line": {"3": {"line_id": 3, "product_id": "9", "quantity": 2, "price_pence": null}}}),
            &[("user_id", "7"), ("line:3", r#"{"line_id":"3","product_id":"9","quantity":"2","price_pence":null}"#)],
        );
        assert_eq!(segment("a/b c?%"), "a%2Fb%20c%3F%25");
    }
}
