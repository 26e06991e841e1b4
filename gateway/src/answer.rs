//! An answer as HTTP: a JSON body, and headers that say how far its tier has come and whether the CDN may keep it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use lockstep_schemas::column::ColumnType;
use lockstep_schemas::entry::{Fields, Kinds};
use lockstep_schemas::policy::TierName;
use serde_json::{Map, Value as Json};

use crate::read::Given;

/// What the CDN may do with an answer.
pub(crate) enum Keep {
    /// Keep it for so many seconds, under these tags.
    For { seconds: u64, tags: String },
    /// Not keep it.
    No,
}

/// The types of columns by name.
type Types = BTreeMap<Arc<str>, ColumnType>;

/// `what` is it that was asked for: a product.
pub(crate) fn response(what: &str, given: &Given, kinds: &Kinds, keep: &Keep) -> Response<Body> {
    let answer = &given.answer;
    let (status, body) = match &answer.fields {
        Some(fields) => (StatusCode::OK, body(fields, kinds)),
        None => (StatusCode::NOT_FOUND, serde_json::json!({ "error": format!("there is no such {what}") })),
    };
    let asked: Vec<&str> = answer.asked.iter().map(|tier: &TierName| tier.as_str()).collect();
    let mut response = json(status, &body);
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set("lockstep-tier", answer.by.as_str());
    set("lockstep-asked", &asked.join(","));
    let position = answer.mark.as_ref().map(|mark| mark.position.to_string());
    if let Some(mark) = &answer.mark {
        set("lockstep-at", &mark.at.to_string());
    }
    if let Some(behind) = given.behind {
        set("lockstep-behind", behind.as_str());
    }
    if let Some(position) = &position {
        set("lockstep-position", position);
    }
    match keep {
        Keep::For { seconds, tags } => {
            set("cache-control", &format!("public, max-age=0, s-maxage={seconds}"));
            set("xkey", tags);
            set("etag", &format!("\"{}\"", position.unwrap_or_default()));
        }
        Keep::No => set("cache-control", "no-store"),
    }
    response
}

/// An error as an answer that nobody keeps.
pub(crate) fn failure(status: StatusCode, why: &str) -> Response<Body> {
    let mut response = json(status, &serde_json::json!({ "error": why }));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn json(status: StatusCode, body: &Json) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Columns under their names; rows under the name of them all, each under its own.
fn body(fields: &Fields, kinds: &Kinds) -> Json {
    let mut object = Map::new();
    for (rows, _) in &kinds.rows {
        object.insert(rows.name().to_owned(), Json::Object(Map::new()));
    }
    for (name, text) in fields {
        let row = kinds.rows.iter().find_map(|(rows, types)| Some((rows.name(), rows.row_of(name)?, types)));
        match row {
            None => drop(object.insert(name.to_string(), value(&kinds.columns, name, text))),
            Some((all, row, types)) => {
                let rows = object.entry(all).or_insert_with(|| Json::Object(Map::new()));
                if let Json::Object(rows) = rows {
                    rows.insert(row.to_owned(), row_of(text, types));
                }
            }
        }
    }
    for name in kinds.columns.keys() {
        object.entry(name.to_string()).or_insert(Json::Null);
    }
    Json::Object(object)
}

/// A row's field holds texts; its answer has numbers where the columns are such.
fn row_of(text: &str, types: &Types) -> Json {
    let texts: Map<String, Json> = serde_json::from_str(text).unwrap_or_default();
    let typed = |(name, text): (String, Json)| match &text {
        Json::String(text) => (name.clone(), value(types, &name, text)),
        _ => (name, text),
    };
    Json::Object(texts.into_iter().map(typed).collect())
}

fn value(types: &Types, name: &str, text: &str) -> Json {
    match types.get(name) {
        Some(kind) if kind.is_bare() => serde_json::from_str(text).unwrap_or_else(|_| Json::from(text)),
        _ => Json::from(text),
    }
}

#[cfg(test)]
mod tests {
    use lockstep_schemas::policy::Rows;

    use super::*;

    #[test]
    fn rows_stand_under_the_name_of_them_all() {
        let types =
            |columns: &[(&str, ColumnType)]| columns.iter().map(|(name, kind)| (Arc::from(*name), *kind)).collect();
        let kinds = Kinds {
            columns: types(&[("user_id", ColumnType::Int64), ("note", ColumnType::Text)]),
            rows: vec![(
                Rows::parse("line:{line_id}").expect("rows"),
                types(&[("product_id", ColumnType::Text), ("quantity", ColumnType::Int32)]),
            )],
        };
        let field = |name: &str, text: &str| (Arc::from(name), text.to_owned());
        let cart = vec![field("user_id", "7"), field("line:1", r#"{"product_id":"12","quantity":"2","gone":null}"#)];
        let line = serde_json::json!({"product_id": "12", "quantity": 2, "gone": null});
        assert_eq!(body(&cart, &kinds), serde_json::json!({"user_id": 7, "note": null, "line": {"1": line}}));
        assert_eq!(body(&cart[..1].to_vec(), &kinds)["line"], serde_json::json!({}));
    }
}
