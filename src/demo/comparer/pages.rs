//! Every product page that the edge keeps, against its row.

use crate::demo::comparer::entry::{Secrecy, Verdict, judge_columns};
use crate::demo::comparer::findings::{Findings, Stale};
use crate::demo::comparer::truth::{Fields, Subject, Truth, row_now};
use crate::demo::output::Output;
use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use lockstep_schemas::policy::Policy;
use serde_json::{Map, Value};
use sqlx::PgPool;
use std::collections::BTreeSet;

const PAGES_AT_ONCE: usize = 8;

/// A page that the edge answered by itself. Columns are none where it said "no such product".
struct Page {
    columns: Option<Fields>,
    position: Option<String>,
}

/// Compares the page of every product in the database, and of every id in `more` that is not (or no longer) there.
pub async fn compare(
    (edge, http): (&str, &reqwest::Client),
    pool: &PgPool,
    truth: &Truth,
    more: &[String],
    policy: &Policy,
    output: &Output,
    findings: &mut Findings,
) -> Result<()> {
    let ids: BTreeSet<&str> = truth.product_ids().chain(more.iter().map(String::as_str)).collect();
    let bar = output.bar("comparing edge", ids.len());
    let look = |id: &str| {
        let id = id.to_owned();
        async move {
            let path = format!("/v1/product/{id}");
            let url = format!("{}{path}", edge.trim_end_matches('/'));
            let subject = Subject::Product(id);
            let secrecy = Secrecy::of(policy, &subject);
            let found = compare_page(&url, http, pool, truth, &subject, secrecy).await;
            found.map(|found| (path, found))
        }
    };
    let mut found = stream::iter(ids).map(look).buffer_unordered(PAGES_AT_ONCE);
    while let Some((path, found)) = found.try_next().await? {
        bar.inc(1);
        let Some((verdict, low)) = found else { continue };
        findings.edge.compared += 1;
        if let Verdict::Stale(what) = verdict {
            findings.add_stale(Stale { tier: "edge", key: path, what, low });
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// None: the edge keeps no such page. A difference counts only if it stays.
async fn compare_page(
    url: &str,
    http: &reqwest::Client,
    pool: &PgPool,
    truth: &Truth,
    subject: &Subject,
    secrecy: Secrecy<'_>,
) -> Result<Option<(Verdict, Option<String>)>> {
    let Some(page) = get(url, http).await? else {
        return Ok(None);
    };
    let verdict = judge(&page, truth.row(subject), secrecy);
    if verdict == Verdict::Equal {
        return Ok(Some((verdict, page.position)));
    }
    let row = row_now(pool, subject).await?;
    let Some(page) = get(url, http).await? else {
        return Ok(None);
    };
    Ok(Some((judge(&page, row.as_ref(), secrecy), page.position)))
}

fn judge(page: &Page, row: Option<&Fields>, secrecy: Secrecy<'_>) -> Verdict {
    match (&page.columns, row) {
        (None, None) => Verdict::Equal,
        (None, Some(_)) => Verdict::Stale("says that there is no such product".to_owned()),
        (Some(columns), row) => judge_columns(columns, row, secrecy),
    }
}

async fn get(url: &str, http: &reqwest::Client) -> Result<Option<Page>> {
    let response = http.get(url).send().await.with_context(|| format!("get {url}"))?;
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (hit, position) = (header("x-cache").as_deref() == Some("HIT"), header("lockstep-position"));
    let status = response.status().as_u16();
    let body = response.bytes().await.with_context(|| format!("get {url}"))?;
    let columns = match status {
        200 => Some(columns(&serde_json::from_slice(&body).with_context(|| format!("read the page {url}"))?)),
        404 => None,
        _ => return Ok(None),
    };
    Ok(hit.then_some(Page { columns, position }))
}

/// JSON values as the text that the database gives; null is absent.
fn columns(body: &Map<String, Value>) -> Fields {
    let text = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    body.iter().filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_compared_as_text() -> Result<()> {
        let body: Map<String, Value> =
            serde_json::from_str(r#"{"product_id":"1","active":true,"stock":5,"category":null}"#)?;
        let row: Fields =
            [("product_id", "1"), ("active", "true"), ("stock", "5")].map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        let policy = Policy::parse(lockstep_schemas::policy::DEFAULT)?;
        let secrecy = Secrecy::of(&policy, &Subject::Product("1".to_owned()));
        let judge = |page: &Page, row| super::judge(page, row, secrecy);
        let page = |columns| Page { columns, position: None };
        assert_eq!(judge(&page(Some(columns(&body))), Some(&row)), Verdict::Equal);
        assert_eq!(judge(&page(None), None), Verdict::Equal);
        assert!(matches!(judge(&page(None), Some(&row)), Verdict::Stale(_)));
        assert!(matches!(judge(&page(Some(row.clone())), None), Verdict::Stale(_)));
        Ok(())
    }
}
