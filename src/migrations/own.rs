//! What is Freehold's in a tenant's database: the schema `freehold` with all that is in it and on it, the rows of its
//! tables, and the default privileges. A product's files must leave it as it is, or Freehold's next file would not find
//! what it counts on, and a new tenant would not be empty.
//!
//! Two readings of one database are compared to the letter. Comments do not count.

use std::collections::BTreeSet;

use tokio_postgres::Client;

use crate::error::Result;

const OBJECTS: &str = include_str!("own.sql");

/// One reading, of a database that has few rows: a template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FreeholdPart {
    /// The name of each object, and its row in the catalogue.
    objects: BTreeSet<(String, String)>,
    /// The name of each table, and a digest of its rows.
    rows: BTreeSet<(String, String)>,
}

impl FreeholdPart {
    /// Reads it, outside of a transaction. Whoever may read the tables may.
    pub async fn of(session: &Client) -> Result<Self> {
        let (mut objects, mut rows) = (BTreeSet::new(), BTreeSet::new());
        for object in session.query(OBJECTS, &[]).await? {
            if let Some(table) = object.try_get::<_, Option<String>>("counted")? {
                // The names are quoted where they have to be.
                // Not md5, which a server within FIPS 140 refuses.
                let texts = "string_agg(t::text, ',' ORDER BY t::text)";
                let sql = format!("SELECT encode(sha256(convert_to({texts}, 'UTF8')), 'hex') FROM ONLY {table} t");
                let digest: Option<String> = session.query_one(&sql, &[]).await?.try_get(0)?;
                rows.insert((table, digest.unwrap_or_default()));
            }
            objects.insert((object.try_get("object")?, object.try_get("definition")?));
        }
        Ok(Self { objects, rows })
    }

    /// What is another in `later`, or in one of the two only, in words. The rows of a table that is another itself are
    /// not told.
    #[must_use]
    pub fn changes(&self, later: &Self) -> Vec<String> {
        let objects: BTreeSet<_> = differing(&self.objects, &later.objects).collect();
        let is_told = |table: &str| objects.contains(format!("table {table}").as_str());
        let rows: BTreeSet<_> = differing(&self.rows, &later.rows).filter(|table| !is_told(table)).collect();
        let rows = rows.into_iter().map(|table| format!("rows of {table}"));
        objects.iter().map(|object| (*object).to_owned()).chain(rows).collect()
    }
}

fn differing<'a>(
    one: &'a BTreeSet<(String, String)>,
    other: &'a BTreeSet<(String, String)>,
) -> impl Iterator<Item = &'a str> {
    one.symmetric_difference(other).map(|(name, _)| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(objects: &[(&str, &str)], rows: &[(&str, &str)]) -> FreeholdPart {
        let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        FreeholdPart { objects: owned(objects), rows: owned(rows) }
    }

    #[test]
    fn changes_are_told_once_each() {
        let tables = [("table freehold.roles", "a"), ("table freehold.users", "a")];
        let before = own(&tables, &[("freehold.roles", "1"), ("freehold.users", "1")]);
        assert_eq!(before.changes(&before), Vec::<String>::new());
        let after = own(&tables, &[("freehold.roles", "2"), ("freehold.users", "1")]);
        assert_eq!(before.changes(&after), ["rows of freehold.roles"]);
        let more = [("table freehold.roles", "b"), ("rule silent on freehold.users", "a"), tables[1]];
        let after = own(&more, &[("freehold.roles", "2"), ("freehold.users", "1")]);
        assert_eq!(before.changes(&after), ["rule silent on freehold.users", "table freehold.roles"]);
    }
}
