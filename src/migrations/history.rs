//! What a database says was applied to it, and whether that agrees with a set.
//!
//! refinery keeps the history and compares checksums, but panics on a row that was edited by hand and skips a gap
//! without a word: so the rows are read and judged here before it is let at them. Each stream of a tenant's database
//! has a history of its own, in its own schema.

use bytes::Bytes;
use chrono::DateTime;
use futures::TryStreamExt as _;
use refinery_core::Migration;
use tokio_postgres::{Client, Row};

use super::MigrationSet;
use crate::{
    error::{Error, Result},
    types::{SchemaVersions, Stream},
};

/// The size in bytes up to which a foreign table is taken for a history, indexes included.
const MAX_FOREIGN_HISTORY: i64 = 2 << 20;

/// What refinery calls a history, in whichever schema: `version, name, applied_on, checksum`.
pub const HISTORY_TABLE: &str = "refinery_schema_history";

/// Both versions of a tenant's database, as it says itself: one row for [`applied_versions`].
pub const SELECT_VERSIONS: &str =
    "SELECT coalesce((SELECT max(version) FROM freehold.refinery_schema_history), 0)::int4 AS freehold,
            coalesce((SELECT max(version) FROM public.refinery_schema_history), 0)::int4 AS product";

/// What [`SELECT_VERSIONS`] has found.
pub fn applied_versions(row: &Row) -> Result<SchemaVersions> {
    Ok(SchemaVersions { freehold: row.try_get("freehold")?, product: row.try_get("product")? })
}

/// The history in a schema of the database: `freehold.refinery_schema_history`.
pub(super) fn table(schema: &str) -> String {
    format!("{schema}.{HISTORY_TABLE}")
}

/// The versions that a database has, without gaps and equal to the set as far as the two overlap.
pub(super) struct History {
    /// Whether the table is there: also a set without files leaves one behind.
    pub(super) exists: bool,
    /// 0 when nothing was applied.
    pub(super) version: i32,
}

impl History {
    /// Reads the history `table` and compares it with `migrations` (ordered, from version 1). A database that is
    /// ahead of the set is fine: an older program meets it during every rolling update.
    pub(super) async fn read(client: &Client, table: &str, migrations: &[Migration]) -> Result<Self> {
        let exists: bool = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&table]).await?.try_get(0)?;
        if !exists {
            return Ok(Self { exists, version: 0 });
        }
        let sql = format!("SELECT version, name, applied_on, checksum FROM {table} ORDER BY version");
        let mut version = 0;
        for row in client.query(&sql, &[]).await? {
            version += 1;
            Applied::from_row(&row)?.check(version, migrations)?;
        }
        Ok(Self { exists, version })
    }
}

/// The newest version that the product's history names in a database that somebody else has made. There is one, and it is
/// a plain table. It is copied out: to plan a query, PostgreSQL may run functions that an index of the table names.
///
/// # Errors
/// Internal when it disagrees with `set`; PostgreSQL's.
pub async fn foreign_product_version(session: &Client, set: &MigrationSet) -> Result<i32> {
    let (table, migrations) = (table(Stream::Product.schema()), set.to_refinery()?);
    let size = "SELECT pg_catalog.pg_total_relation_size($1::text::regclass) <= $2";
    if !session.query_one(size, &[&table, &MAX_FOREIGN_HISTORY]).await?.try_get::<_, bool>(0)? {
        return Err(Error::defect("the schema history is too large to be one"));
    }
    let copy = format!("COPY {table} (version, name, applied_on, checksum) TO STDOUT");
    let chunks: Vec<Bytes> = session.copy_out(&copy).await?.try_collect().await?;
    let text = String::from_utf8(chunks.concat()).map_err(Error::internal)?;
    let mut applied = text.lines().map(Applied::from_line).collect::<Result<Vec<_>>>()?;
    applied.sort_by_key(|row| row.version);
    for (row, expected) in applied.iter().zip(1..) {
        row.check(expected, &migrations)?;
    }
    Ok(applied.last().map_or(0, |row| row.version))
}

struct Applied {
    version: i32,
    name: String,
    time: String,
    checksum: String,
}

impl Applied {
    /// A line of COPY's text. Where something has to be escaped, no program has written it.
    fn from_line(line: &str) -> Result<Self> {
        let fields: Vec<_> = line.split('\t').collect();
        match fields[..] {
            [version, name, time, checksum] if !line.contains('\\') => Ok(Self {
                version: version.parse().map_err(Error::internal)?,
                name: name.to_owned(),
                time: time.to_owned(),
                checksum: checksum.to_owned(),
            }),
            _ => Err(Error::defect("the schema history was edited by hand")),
        }
    }

    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            version: row.try_get("version")?,
            name: row.try_get("name")?,
            time: row.try_get("applied_on")?,
            checksum: row.try_get("checksum")?,
        })
    }

    fn check(&self, expected: i32, migrations: &[Migration]) -> Result<()> {
        let wrong = |what: &str| Err(Error::defect(format!("the schema history says V{}: {what}", self.version)));
        if self.version != expected {
            return wrong("versions before it are missing");
        }
        if DateTime::parse_from_rfc3339(&self.time).is_err() || self.checksum.parse::<u64>().is_err() {
            return wrong("the row was edited by hand");
        }
        match migrations.iter().find(|migration| migration.version() == self.version) {
            Some(known) if known.name() != self.name => wrong("another migration was applied under this version"),
            Some(known) if known.checksum().to_string() != self.checksum => {
                wrong("the migration was changed after it was applied")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<Migration> {
        vec![Migration::unapplied("V1__a", "SELECT 1").unwrap()]
    }

    fn applied(version: i32) -> Applied {
        Applied {
            version,
            name: "a".into(),
            time: "2026-01-01T00:00:00Z".into(),
            checksum: known()[0].checksum().to_string(),
        }
    }

    #[test]
    fn the_same_migration_and_a_newer_one_are_fine() {
        assert!(applied(1).check(1, &known()).is_ok());
        assert!(applied(2).check(2, &known()).is_ok());
    }

    #[test]
    fn lines_of_a_copy_are_rows() {
        let line = |text: &str| Applied::from_line(text).map(|row| (row.version, row.name, row.time, row.checksum));
        let row = (3, "a_b".to_owned(), "2026-01-01T00:00:00Z".to_owned(), "17".to_owned());
        assert_eq!(line("3\ta_b\t2026-01-01T00:00:00Z\t17").unwrap(), row);
        for wrong in ["", "3\ta", "x\ta\tb\t1", "3\ta\\tb\tc\t1", "3\ta\tb\t1\t2", "\\N\ta\tb\t1"] {
            assert!(line(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_disagreement_is_told() {
        for wrong in [
            Applied { version: 3, ..applied(3) },
            Applied { name: "b".into(), ..applied(1) },
            Applied { checksum: "1".into(), ..applied(1) },
            Applied { checksum: "x".into(), ..applied(1) },
            Applied { time: "yesterday".into(), ..applied(1) },
        ] {
            let expected = wrong.version.min(2);
            assert!(wrong.check(expected, &known()).is_err(), "{} {}", wrong.version, wrong.name);
        }
    }
}
