//! An answer as HTTP: a JSON body, and headers that say how far its tier has come and whether the CDN may keep it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use lockstep_schemas::column::ColumnType;
use lockstep_schemas::entry::Fields;
use lockstep_schemas::policy::TierName;
use lockstep_tiers::Answer;
use serde_json::{Map, Value as Json};

/// What the CDN may do with an answer.
pub(crate) enum Keep {
    /// Keep it for so many seconds, under these tags.
    For { seconds: u64, tags: String },
    /// Not keep it.
    No,
}

/// The kinds of a view's fields.
pub(crate) type Kinds = BTreeMap<Arc<str>, ColumnType>;

pub(crate) fn response(answer: &Answer, kinds: &Kinds, keep: &Keep) -> Response<Body> {
    let (status, body) = match &answer.fields {
        Some(fields) => (StatusCode::OK, body(fields, kinds)),
        None => (StatusCode::NOT_FOUND, serde_json::json!({"error": "there is no such product"})),
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

fn body(fields: &Fields, kinds: &Kinds) -> Json {
    let value = |name: &Arc<str>, text: &str| match kinds.get(name) {
        Some(kind) if kind.is_bare() => serde_json::from_str(text).unwrap_or_else(|_| Json::from(text)),
        _ => Json::from(text),
    };
    let mut object: Map<String, Json> =
        fields.iter().map(|(name, text)| (name.to_string(), value(name, text))).collect();
    for name in kinds.keys() {
        object.entry(name.to_string()).or_insert(Json::Null);
    }
    Json::Object(object)
}
