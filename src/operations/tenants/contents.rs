//! A summary of a tenant's database: its schema versions, and how many rows each table has.
//!
//! It is taken from the snapshot of a dump, and again from the restored database, by the owner of both. Row-level security
//! cannot hide rows from the count: where it would, the dump fails.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use crate::{
    error::Result,
    migrations::{SELECT_VERSIONS, applied_versions},
    types::{SchemaVersions, TableName},
};

/// The schema versions and row counts of a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::operations) struct Contents {
    /// The newest migration of each stream that was applied to it.
    pub(in crate::operations) versions: SchemaVersions,
    /// Rows by table: `freehold.users`.
    pub(in crate::operations) rows: BTreeMap<String, i64>,
}

/// Every table that stores rows, partitions included. Tables of extensions are left out, because the extension creates
/// them. Returns the name for people, and the name as PostgreSQL quotes it.
const TABLES: &str = "
    SELECT n.nspname || '.' || c.relname AS name, format('%I.%I', n.nspname, c.relname) AS quoted
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND NOT starts_with(n.nspname::text, 'pg_')
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                                                 AND d.deptype = 'e')
     ORDER BY 1";

impl Contents {
    /// Counts the rows that `session` sees.
    pub(in crate::operations) async fn of(session: &Client) -> Result<Self> {
        let versions = applied_versions(&session.query_one(SELECT_VERSIONS, &[]).await?)?;
        let mut rows = BTreeMap::new();
        for table in session.query(TABLES, &[]).await? {
            let quoted: String = table.try_get("quoted")?;
            let count = session.query_one(&format!("SELECT count(*) FROM ONLY {quoted}"), &[]).await?;
            rows.insert(table.try_get("name")?, count.try_get(0)?);
        }
        Ok(Self { versions, rows })
    }

    /// The same with a row count of 0 for some tables.
    pub(in crate::operations) fn without_rows(mut self, tables: &[TableName]) -> Self {
        for table in tables {
            if let Some(count) = self.rows.get_mut(&table.to_string()) {
                *count = 0;
            }
        }
        self
    }

    /// How a restored database differs from the one that was dumped: versions, and tables by name. `None` if it does
    /// not.
    pub(in crate::operations) fn difference(&self, dumped: &Self) -> Option<String> {
        if self == dumped {
            return None;
        }
        let tables = dumped.rows.keys().chain(self.rows.keys());
        let mut differ: Vec<_> = tables.filter(|table| self.rows.get(*table) != dumped.rows.get(*table)).collect();
        differ.sort_unstable();
        differ.dedup();
        let (found, expected) = (self.versions, dumped.versions);
        let versions = (found != expected).then(|| format!("{found}, instead of {expected}"));
        let rows = (!differ.is_empty()).then(|| format!("rows of another number in {differ:?}"));
        Some(versions.into_iter().chain(rows).collect::<Vec<_>>().join("; "))
    }

    /// The first table without an entry for its rows in a dump's table of contents. Entries are lines such as
    /// `3390; 0 16402 TABLE DATA public users freehold_owner`. A line end within a name is a blank there.
    pub(in crate::operations) fn missing_in(&self, listed: &str) -> Option<&str> {
        let plain = |text: &str| text.replace(['.', '\n', '\r'], " ");
        let entries: Vec<_> = listed.lines().map(plain).collect();
        let is_there = |table: &&String| {
            let entry = format!(" TABLE DATA {} ", plain(table));
            entries.iter().any(|line| line.contains(&entry))
        };
        self.rows.keys().find(|table| !is_there(table)).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Stream;

    fn contents(rows: &[(&str, i64)]) -> Contents {
        let rows = rows.iter().map(|(table, count)| ((*table).to_owned(), *count)).collect();
        Contents { versions: SchemaVersions { freehold: 1, product: 2 }, rows }
    }

    #[test]
    fn what_differs_is_named() {
        let dumped = contents(&[("freehold.users", 2), ("public.users", 1)]);
        assert_eq!(dumped.difference(&dumped.clone()), None);
        let restored = contents(&[("freehold.users", 1), ("public.users", 1)]);
        assert!(restored.difference(&dumped).unwrap().starts_with("rows of another number in [\"freehold.users\"]"));
        let older = Contents { versions: SchemaVersions { freehold: 1, product: 1 }, ..dumped.clone() };
        assert!(older.difference(&dumped).unwrap().starts_with(&older.versions.to_string()));
        let left = [TableName::of(Stream::Freehold, "users")];
        let emptied = contents(&[("freehold.users", 0), ("public.users", 1)]);
        assert_eq!(emptied.difference(&dumped.without_rows(&left)), None);
    }

    #[test]
    fn a_table_without_an_entry_of_its_own_is_missed() {
        let listed = ";\n215; 1259 16390 TABLE public users freehold_owner\n\
                      3390; 0 16390 TABLE DATA public users freehold_owner\n\
                      216; 1259 16395 TABLE public tasks freehold_owner\n";
        assert_eq!(contents(&[("public.users", 2)]).missing_in(listed), None);
        assert_eq!(contents(&[("public.users", 2), ("public.tasks", 0)]).missing_in(listed), Some("public.tasks"));
        assert_eq!(contents(&[("public.user", 2)]).missing_in(listed), Some("public.user"));
        let listed = "3390; 0 16390 TABLE DATA public we ird freehold_owner\n";
        assert_eq!(contents(&[("public.we\nird", 2)]).missing_in(listed), None);
    }
}
