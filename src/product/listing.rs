//! Pages of a table, in every order that it has an index for.
//!
//! A page is found by key: the rows after the last one seen, by (column, id). So each order has two statements, the
//! first page and the next ones; [`order!`](order) makes both of the list's own text. The parameters are the filter's
//! (`$1`, `$2`, …), then the limit, then the key and the id. So the list and its count have the same text after
//! `FROM`, and the same parameters in it.
//!
//! A filter that is not asked for is a null parameter (`$1 IS NULL OR …`). PostgreSQL plans these statements for
//! the values at hand for as long as that is cheaper than one plan for all, so an unused filter costs nothing.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::stored::Stored;
use crate::{
    error::{Error, FieldError, Result},
    http::extract::{CursorKey, Listing, Page},
    tenancy::{Param, Statements},
};

/// One order of a list.
pub(super) struct Order<T> {
    /// Selects the first page.
    pub(super) first: &'static str,
    /// Selects the page after a key.
    pub(super) next: &'static str,
    /// The column that sorts.
    pub(super) column: Column<T>,
}

/// A column that sorts, as its rows show it.
pub(super) enum Column<T> {
    Time(fn(&T) -> DateTime<Utc>),
    Text(fn(&T) -> &str),
}

/// An [`Order`] of a list, whose text ends in its `WHERE`. Where the filter has two parameters,
/// `order!(LIST, "created_at" descending, limit "$3", after "$4, $5", Column::Time(|row| row.created_at))` has
///
/// * `first`: LIST, then `ORDER BY created_at DESC, id DESC LIMIT $3`
/// * `next`: LIST, then `AND (created_at, id) < ($4, $5) ORDER BY created_at DESC, id DESC LIMIT $3`
macro_rules! order {
    ($list:expr, $name:literal ascending, limit $limit:literal, after $key:literal, $column:expr) => {
        order!(@ $list, ($name, ">", ""), ($limit, $key), $column)
    };
    ($list:expr, $name:literal descending, limit $limit:literal, after $key:literal, $column:expr) => {
        order!(@ $list, ($name, "<", " DESC"), ($limit, $key), $column)
    };
    (@ $list:expr, ($name:literal, $beyond:literal, $direction:literal), ($limit:literal, $key:literal), $column:expr) => {
        $crate::product::listing::Order {
            first: $crate::product::sql::sql![
                $list, " ORDER BY ", $name, $direction, ", id", $direction, " LIMIT ", $limit
            ],
            next: $crate::product::sql::sql![
                $list, " AND (", $name, ", id) ", $beyond, " (", $key, ")",
                " ORDER BY ", $name, $direction, ", id", $direction, " LIMIT ", $limit
            ],
            column: $column,
        }
    };
}
pub(super) use order;

/// The last row that a client has seen, and the order in which it was.
#[derive(Serialize, Deserialize)]
struct Cursor<S> {
    sort: S,
    key: Key,
    id: Uuid,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Key {
    Time(DateTime<Utc>),
    Text(String),
}

impl Key {
    fn param(&self) -> Param<'_> {
        match self {
            Self::Time(time) => time,
            Self::Text(text) => text,
        }
    }
}

impl<T> Column<T> {
    fn key(&self, row: &T) -> Key {
        match self {
            Self::Time(of) => Key::Time(of(row)),
            Self::Text(of) => Key::Text(of(row).to_owned()),
        }
    }

    /// Whether a cursor's key, which anybody can make up, is of this column's type.
    fn takes(&self, key: &Key) -> bool {
        matches!((self, key), (Self::Time(_), Key::Time(_)) | (Self::Text(_), Key::Text(_)))
    }
}

impl<S: Serialize + DeserializeOwned> CursorKey for Cursor<S> {
    fn can_be_stored(&self) -> bool {
        match &self.key {
            Key::Time(time) => time.can_be_stored(),
            Key::Text(text) => text.can_be_stored(),
        }
    }
}

/// One page of a list, with the total when the client asks for it. `count` counts all rows that match; `sort` is what
/// clients call `order`. `filter` are the first parameters of all of them.
///
/// # Errors
/// 422 on `cursor` when it was made in another order.
pub(super) async fn page<S, T>(
    conn: &impl Statements,
    count: &'static str,
    (sort, order): (S, &Order<T>),
    filter: &[Param<'_>],
    page: &Page,
) -> Result<Listing<T>>
where
    S: Serialize + DeserializeOwned + PartialEq,
    T: Stored,
{
    let cursor = after(&sort, &order.column, page)?;
    let total = total(conn, count, filter, page).await?;
    let limit = page.fetch();
    let mut params = filter.to_vec();
    params.push(&limit);
    if let Some(cursor) = &cursor {
        params.extend([cursor.key.param(), &cursor.id as Param<'_>]);
    }
    let sql = if cursor.is_some() { order.next } else { order.first };
    let rows = conn.rows(sql, &params).await?.iter().map(T::read).collect::<Result<Vec<T>>>()?;
    let listing = Listing::new(rows, page, |last| Cursor { sort, key: order.column.key(last), id: last.id() })?;
    Ok(listing.with_total(total))
}

fn after<S, T>(sort: &S, column: &Column<T>, page: &Page) -> Result<Option<Cursor<S>>>
where
    S: Serialize + DeserializeOwned + PartialEq,
{
    let Some(cursor) = page.after::<Cursor<S>>()? else { return Ok(None) };
    if cursor.sort == *sort && column.takes(&cursor.key) {
        return Ok(Some(cursor));
    }
    Err(FieldError::new("cursor", "invalid_cursor", "must be the next_cursor of this list in the same order").into())
}

/// How many rows `count` counts, when the client wants to know.
async fn total(conn: &impl Statements, count: &'static str, filter: &[Param<'_>], page: &Page) -> Result<Option<i64>> {
    if !page.include_total() {
        return Ok(None);
    }
    let row = conn.row(count, filter).await?.ok_or_else(|| Error::defect("a count has no row"))?;
    Ok(Some(row.try_get(0)?))
}

#[cfg(test)]
mod tests {
    use axum::{extract::FromRequestParts, http::Request};

    use super::*;
    use crate::http::extract::{List, NoFilter};

    const BY_TEXT: Order<String> = order!(
        "SELECT id FROM t WHERE a = $1",
        "name" descending,
        limit "$2",
        after "$3, $4",
        Column::Text(|text| text)
    );

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Sort {
        Up,
        Down,
    }

    async fn page_after(cursor: Cursor<Sort>) -> Page {
        let first = List::<NoFilter>::from_request_parts(&mut request("/?limit=1"), &()).await.unwrap().page;
        let token = Listing::new(vec![1, 2], &first, |_| cursor).unwrap().next_cursor.unwrap();
        let mut next = request(&format!("/?cursor={token}"));
        List::<NoFilter>::from_request_parts(&mut next, &()).await.unwrap().page
    }

    fn request(uri: &str) -> axum::http::request::Parts {
        Request::builder().uri(uri).body(()).unwrap().into_parts().0
    }

    fn cursor(sort: Sort, key: Key) -> Cursor<Sort> {
        Cursor { sort, key, id: Uuid::nil() }
    }

    #[test]
    fn an_order_breaks_ties_by_id_in_its_own_direction() {
        assert_eq!(BY_TEXT.first, "SELECT id FROM t WHERE a = $1 ORDER BY name DESC, id DESC LIMIT $2");
        assert_eq!(
            BY_TEXT.next,
            "SELECT id FROM t WHERE a = $1 AND (name, id) < ($3, $4) ORDER BY name DESC, id DESC LIMIT $2"
        );
    }

    #[tokio::test]
    async fn a_cursor_leads_on_in_its_own_order_only() {
        // A text that looks like a time stays a text.
        let key = || Key::Text("2030-01-31T00:00:00Z".to_owned());
        let page = page_after(cursor(Sort::Down, key())).await;
        let found = after(&Sort::Down, &BY_TEXT.column, &page).unwrap().unwrap();
        assert!(matches!(found.key, Key::Text(text) if text == "2030-01-31T00:00:00Z"));
        assert!(after(&Sort::Up, &BY_TEXT.column, &page).is_err());
    }

    #[tokio::test]
    async fn a_made_up_key_never_reaches_the_database() {
        let by_time: Column<()> = Column::Time(|()| DateTime::UNIX_EPOCH);
        let nul = page_after(cursor(Sort::Down, Key::Text("\0".to_owned()))).await;
        assert!(after(&Sort::Down, &BY_TEXT.column, &nul).is_err());
        assert!(after(&Sort::Down, &by_time, &nul).is_err());
        let far = page_after(cursor(Sort::Down, Key::Time(DateTime::<Utc>::MIN_UTC))).await;
        assert!(after(&Sort::Down, &by_time, &far).is_err());
        assert!(after(&Sort::Down, &BY_TEXT.column, &far).is_err());
    }
}
