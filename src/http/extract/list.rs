//! Lists: the query for a page with its filters, and the response with the cursor of the next page.
//!
//! Pages are found by key (`WHERE (created_at, id) > cursor`), never by offset: a page costs the same
//! however deep it is, and rows that appear meanwhile shift nothing. A cursor is the last row's key, opaque to
//! clients; it grants nothing, so it is not signed. Anybody can make one up: a [`CursorKey`] says what may reach SQL.

use axum::{extract::FromRequestParts, http::request::Parts};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Datelike, Utc};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use url::form_urlencoded;

use super::query;
use crate::{
    error::{Error, FieldError, Result},
    http::problem::Problem,
    identity::people,
    types::{ApiKeyId, AuditEventId, InvitationId, JobId, OperationId, RolloutId, TenantId},
};

/// The parameters that every list has; all others are the filter's.
const PAGE_PARAMETERS: [&str; 3] = ["limit", "cursor", "include"];

/// Which rows of a list are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// How many items at most: 1 to 200.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 200, default = 50, required = false)]
    limit: Limit,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// `total`: count all rows that match.
    #[param(value_type = Option<String>, pattern = "^total$")]
    include: Option<Include>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u16")]
struct Limit(u16);

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Include {
    Total,
}

impl Default for Limit {
    fn default() -> Self {
        Self(50)
    }
}

impl TryFrom<u16> for Limit {
    type Error = &'static str;

    fn try_from(limit: u16) -> Result<Self, &'static str> {
        if (1..=200).contains(&limit) { Ok(Self(limit)) } else { Err("invalid_range: must be 1 to 200") }
    }
}

impl Page {
    /// How many rows to ask the database for: one more than are shown, to know whether there is a next page.
    #[must_use]
    pub fn fetch(&self) -> i64 {
        i64::from(self.limit.0) + 1
    }

    /// Whether the client wants all matching rows counted.
    #[must_use]
    pub fn include_total(&self) -> bool {
        self.include.is_some()
    }

    /// The key of the last row that the client has seen.
    ///
    /// # Errors
    /// 422 on `cursor` when it was not made for this list, or holds what no row can.
    pub fn after<K: CursorKey>(&self) -> Result<Option<K>> {
        let decode = |cursor: &String| {
            let key = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
            serde_json::from_slice(&key).ok().filter(K::can_be_stored)
        };
        let invalid = || FieldError::new("cursor", "invalid_cursor", "must be the next_cursor of this list");
        self.cursor.as_ref().map(|cursor| decode(cursor).ok_or_else(|| Error::from(invalid()))).transpose()
    }
}

/// The key in a cursor: the values of the sort columns in the last row of a page.
///
/// A list's own rows are the only source of good keys, but the client holds the cursor. What PostgreSQL would refuse
/// as a parameter is refused here, where it is the client's mistake.
pub trait CursorKey: Serialize + DeserializeOwned {
    /// Whether a column of this type can hold it.
    fn can_be_stored(&self) -> bool;
}

impl CursorKey for DateTime<Utc> {
    /// PostgreSQL's own range is wider than this and narrower than chrono's.
    fn can_be_stored(&self) -> bool {
        (0..=9999).contains(&self.year())
    }
}

impl CursorKey for String {
    fn can_be_stored(&self) -> bool {
        !self.contains('\0')
    }
}

impl<A: CursorKey, B: CursorKey> CursorKey for (A, B) {
    fn can_be_stored(&self) -> bool {
        self.0.can_be_stored() && self.1.can_be_stored()
    }
}

macro_rules! always_stored {
    ($($id:ty),+) => {
        $(impl CursorKey for $id {
            fn can_be_stored(&self) -> bool {
                true
            }
        })+
    };
}
always_stored!(
    i32,
    uuid::Uuid,
    people::Sort,
    ApiKeyId,
    InvitationId,
    AuditEventId,
    JobId,
    OperationId,
    RolloutId,
    TenantId
);

/// The query of a list without filters.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoFilter {}

/// The query of a list: its page, and `F` from the remaining parameters (`sort`, `q`, typed filters).
/// `F` says `#[serde(deny_unknown_fields)]`.
#[derive(Debug)]
pub struct List<F> {
    /// Which rows.
    pub page: Page,
    /// Of what kind.
    pub filter: F,
}

impl<S: Send + Sync, F: DeserializeOwned> FromRequestParts<S> for List<F> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        split(parts.uri.query().unwrap_or_default()).map_err(Problem::from)
    }
}

fn split<F: DeserializeOwned>(text: &str) -> Result<List<F>> {
    // Two passes, because serde cannot both flatten and refuse unknown fields.
    let (mut page, mut filter) =
        (form_urlencoded::Serializer::new(String::new()), form_urlencoded::Serializer::new(String::new()));
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let part = if PAGE_PARAMETERS.contains(&&*name) { &mut page } else { &mut filter };
        part.append_pair(&name, &value);
    }
    Ok(List { page: query::parse(&page.finish())?, filter: query::parse(&filter.finish())? })
}

/// One page of a list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Listing<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Leads to the next page; null on the last one.
    pub next_cursor: Option<String>,
    /// How many rows match, when `include=total` was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

impl<T> Listing<T> {
    /// A page of `rows`, of which [`Page::fetch`] were asked for; `key` is what [`Page::after`] gives back.
    pub fn new<K: CursorKey>(mut rows: Vec<T>, page: &Page, key: impl FnOnce(&T) -> K) -> Result<Self> {
        let limit = usize::from(page.limit.0);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().filter(|_| more).map(key);
        let next_cursor = last.map(|key| encode(&key)).transpose()?;
        Ok(Self { items: rows, next_cursor, total: None })
    }

    /// The whole of a list that is too short for pages.
    #[must_use]
    pub fn all(items: Vec<T>) -> Self {
        Self { items, next_cursor: None, total: None }
    }

    /// The same page with the count of all matching rows.
    #[must_use]
    pub fn with_total(self, total: Option<i64>) -> Self {
        Self { total, ..self }
    }
}

fn encode<K: CursorKey>(key: &K) -> Result<String> {
    let json = serde_json::to_vec(key).map_err(Error::internal)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(json))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Filter {
        q: Option<String>,
    }

    fn wrong(query: &str) -> (String, String) {
        match split::<Filter>(query) {
            Err(Error::Validation(errors)) => (errors[0].field.clone(), errors[0].code.to_string()),
            other => panic!("{query}: {other:?}"),
        }
    }

    #[test]
    fn a_query_is_split_into_page_and_filter() {
        let list = split::<Filter>("limit=2&q=a%26b&include=total").unwrap();
        assert_eq!((list.page.fetch(), list.filter.q.as_deref()), (3, Some("a&b")));
        assert!(list.page.include_total());
        assert_eq!(split::<NoFilter>("").unwrap().page.fetch(), 51);
    }

    #[test]
    fn wrong_parameters_are_named() {
        for (query, field, code) in [
            ("limit=0", "limit", "invalid_range"),
            ("limit=201", "limit", "invalid_range"),
            ("limit=x", "limit", "invalid_value"),
            ("limit=1&limit=2", "limit", "duplicate_field"),
            ("include=all", "include", "invalid_value"),
            ("colour=red", "colour", "unknown_field"),
        ] {
            assert_eq!(wrong(query), (field.to_owned(), code.to_owned()), "{query}");
        }
    }

    #[test]
    fn a_cursor_leads_on_and_ends() {
        let page = |query: &str| split::<NoFilter>(query).unwrap().page;
        let key = |last: &i32| (DateTime::UNIX_EPOCH, last.to_string());
        let first = Listing::new(vec![1, 2, 3], &page("limit=2"), key).unwrap();
        assert_eq!(first.items, [1, 2]);
        let next = page(&format!("limit=2&cursor={}", first.next_cursor.unwrap()));
        assert_eq!(next.after().unwrap(), Some(key(&2)));
        assert!(Listing::new(vec![3], &next, key).unwrap().next_cursor.is_none());
        assert_eq!(page("cursor=nonsense").after::<String>().unwrap_err().code(), "validation_failed");
    }

    #[test]
    fn a_made_up_key_never_reaches_the_database() {
        let page = |key: &str| {
            let cursor = BASE64_URL_SAFE_NO_PAD.encode(key);
            split::<NoFilter>(&format!("cursor={cursor}")).unwrap().page
        };
        let refused = |key: &str| page(key).after::<(DateTime<Utc>, String)>().is_err();
        assert!(!refused(r#"["0000-01-01T00:00:00Z","a"]"#) && !refused(r#"["9999-12-31T23:59:59Z",""]"#));
        for made_up in [
            r#"["-4714-01-01T00:00:00Z","a"]"#,
            r#"["-0001-12-31T23:59:59Z","a"]"#,
            r#"["+10000-01-01T00:00:00Z","a"]"#,
            r#"["+262142-12-31T23:59:59Z","a"]"#,
            r#"["2030-01-31T00:00:00Z","\u0000"]"#,
            r#"["2030-01-31T00:00:00Z"]"#,
            r#"["2030-01-31T00:00:00Z",1]"#,
            r#"["2030-01-31T00:00:00Z","a","b"]"#,
            "[]",
            "",
        ] {
            assert!(refused(made_up), "{made_up}");
        }
    }
}
