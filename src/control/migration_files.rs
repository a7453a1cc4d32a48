//! Table `migrations`: the published tenant migrations of both streams. Every replica builds its sets from here.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    error::{Error, Result},
    types::{SchemaVersions, Stream},
};

/// One published migration.
#[derive(Clone, Debug)]
pub struct Published {
    /// Of which stream it is.
    pub stream: Stream,
    /// From 1, without gaps within its stream.
    pub version: i32,
    /// The file's name without version and ending.
    pub name: String,
    /// The whole text.
    pub sql: String,
    /// The text of its undo file, if it has one.
    pub undo: Option<String>,
    /// When it was published.
    pub published_at: DateTime<Utc>,
    /// By whom.
    pub published_by: String,
}

/// A migration that is about to be published.
#[derive(Clone, Copy, Debug)]
pub struct NewFile<'a> {
    /// Of which stream it is.
    pub stream: Stream,
    /// The one after the newest.
    pub version: i32,
    /// The file's name without version and ending.
    pub name: &'a str,
    /// The whole text.
    pub sql: &'a str,
    /// The text of its undo file, if it has one.
    pub undo: Option<&'a str>,
}

/// All published migrations, Freehold's before the product's, each stream in order.
pub async fn list(connection: &mut PgConnection) -> Result<Vec<Published>> {
    let rows = sqlx::query!(
        "SELECT stream, version, name, sql, undo, published_at, published_by FROM migrations ORDER BY stream, version"
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let unknown = || Error::defect(format!("unknown stream of migrations {}", row.stream));
            Ok(Published {
                stream: Stream::parse(&row.stream).ok_or_else(unknown)?,
                version: row.version,
                name: row.name,
                sql: row.sql,
                undo: row.undo,
                published_at: row.published_at,
                published_by: row.published_by,
            })
        })
        .collect()
}

/// The newest published version of each stream; 0 before its first.
pub async fn newest_versions(connection: &mut PgConnection) -> Result<SchemaVersions> {
    let query = sqlx::query_as!(
        SchemaVersions,
        r#"SELECT coalesce((SELECT max(version) FROM migrations WHERE stream = 'freehold'), 0) AS "freehold!",
                coalesce((SELECT max(version) FROM migrations WHERE stream = 'product'), 0) AS "product!""#
    );
    Ok(query.fetch_one(connection).await?)
}

/// When a migration of the stream was last published.
pub async fn latest(connection: &mut PgConnection, stream: Stream) -> Result<Option<DateTime<Utc>>> {
    let query = sqlx::query_scalar!("SELECT max(published_at) FROM migrations WHERE stream = $1", stream.as_str());
    Ok(query.fetch_one(connection).await?)
}

/// The newest published version of each stream, and how many undo files there are: both only grow.
pub async fn extent(connection: &mut PgConnection) -> Result<(SchemaVersions, usize)> {
    let versions = newest_versions(connection).await?;
    let count = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM migrations WHERE undo IS NOT NULL"#);
    Ok((versions, usize::try_from(count.fetch_one(connection).await?).map_err(Error::internal)?))
}

/// Keeps other publishers away until the transaction ends; readers go on.
pub async fn lock_in_txn(txn: &mut PgConnection) -> Result<()> {
    sqlx::query!("LOCK TABLE migrations IN SHARE ROW EXCLUSIVE MODE").execute(txn).await?;
    Ok(())
}

/// Appends one migration. The caller holds the lock and has checked that it extends its stream.
pub async fn append_in_txn(txn: &mut PgConnection, file: NewFile<'_>, by: &str) -> Result<()> {
    sqlx::query!(
        "INSERT INTO migrations (stream, version, name, sql, undo, published_by) VALUES ($1, $2, $3, $4, $5, $6)",
        file.stream.as_str(),
        file.version,
        file.name,
        file.sql,
        file.undo,
        by
    )
    .execute(txn)
    .await?;
    Ok(())
}

/// Adds the undo file of a published migration that has none. The caller holds the lock.
pub async fn add_undo_in_txn(txn: &mut PgConnection, (stream, version): (Stream, i32), undo: &str) -> Result<()> {
    let updated = sqlx::query!(
        "UPDATE migrations SET undo = $3 WHERE stream = $1 AND version = $2 AND undo IS NULL",
        stream.as_str(),
        version,
        undo
    )
    .execute(txn)
    .await?;
    if updated.rows_affected() == 1 {
        return Ok(());
    }
    Err(Error::defect(format!("version {version} of {stream} has an undo file, or is not published")))
}
