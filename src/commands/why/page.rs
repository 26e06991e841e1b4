//! What the edge answers for an entity's page, as any customer would get it, beside the row.

use std::collections::BTreeMap;
use std::time::Duration;

use lockstep_process::Failure;
use lockstep_process::config::EdgeConfig;
use lockstep_schemas::policy::{Policy, View};
use lockstep_tiers::edge;
use reqwest::{Client, StatusCode, Url};
use serde_json::Value as Json;

use super::report::{OfTier, Page};

const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);

/// Fetches pages from the edge. One that it lacks it asks the gateway for, and may keep.
pub(super) struct Pages {
    client: Client,
    url: Url,
}

impl Pages {
    pub fn of(edge: &EdgeConfig) -> Result<Self, Failure> {
        let client = Client::builder().timeout(ANSWER_WAIT_MAX).no_proxy().build();
        let client = client.map_err(|error| Failure::internal("the HTTP client").because(error))?;
        let url = Url::parse(edge.url.expose());
        let url = url.map_err(|error| Failure::configuration("[edge] url").because(error))?;
        Ok(Pages { client, url })
    }

    /// A page beside the row's columns as the database has them now.
    pub async fn look(
        &self,
        policy: &Policy,
        view: &View,
        entity: &str,
        row: &BTreeMap<String, String>,
    ) -> Result<OfTier, Failure> {
        let key = view.key.key(entity);
        let away = |error: reqwest::Error| {
            Failure::unavailable("the edge").because(error).remedy("check that it runs, and [edge] url")
        };
        let mut url = self.url.clone();
        url.set_path(&format!("{}{}", self.url.path().trim_end_matches('/'), edge::path(view, entity)));
        let answer = self.client.get(url).send().await.map_err(away)?;
        let status = answer.status();
        if status != StatusCode::OK && status != StatusCode::NOT_FOUND {
            return Err(Failure::unavailable(format!("the edge answered {status} for {key}")));
        }
        let header = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
        let (position, at) = (header("lockstep-position"), header("lockstep-at").and_then(|at| at.parse().ok()));
        let is_kept = header("age").and_then(|age| age.parse::<u64>().ok()).is_some_and(|age| age > 0)
            || header("x-cache").is_some_and(|cache| cache.eq_ignore_ascii_case("hit"));
        let body: Json = answer.json().await.map_err(away)?;
        let columns = view.sources.iter().filter(|source| source.rows.is_none()).flat_map(|source| &*source.columns);
        let fields = columns.map(|column| {
            let member = body.get(&**column).filter(|member| !member.is_null() && status == StatusCode::OK);
            (column.to_string(), member.map(text_of), row.get(&**column).cloned(), !is_same(member, row.get(&**column)))
        });
        let page = Page { position, at, is_kept, fields: fields.collect() };
        Ok(OfTier::of_page(policy, view, &key, page))
    }
}

fn text_of(member: &Json) -> String {
    match member {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A number stands in a page as a number, and in the database's text as its digits.
fn is_same(member: Option<&Json>, text: Option<&String>) -> bool {
    match (member, text) {
        (None, None) => true,
        (Some(Json::String(member)), Some(text)) => member == text,
        (Some(member), Some(text)) => serde_json::from_str::<Json>(text).is_ok_and(|value| value == *member),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_are_compared_as_what_they_are() {
        let check = |member: Json, text: Option<&str>, same: bool| {
            let member = Some(member).filter(|member| !member.is_null());
            assert_eq!(is_same(member.as_ref(), text.map(str::to_owned).as_ref()), same, "{member:?} {text:?}");
        };
        check(Json::from(120), Some("120"), true);
        check(Json::from(120), Some("121"), false);
        check(Json::from("120"), Some("120"), true);
        check(Json::from(true), Some("true"), true);
        check(Json::from(1.5), Some("1.50"), true);
        check(Json::Null, None, true);
        check(Json::Null, Some("1"), false);
        check(Json::from("x"), None, false);
    }
}
