//! Table `migrations`: the published tenant migrations. Every replica builds its sets from here.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::error::Result;

/// One published migration.
#[derive(Clone, Debug)]
pub struct Published {
    /// From 1, without gaps.
    pub version: i32,
    /// The file's name without version and ending.
    pub name: String,
    /// The whole text.
    pub sql: String,
    /// When it was published.
    pub published_at: DateTime<Utc>,
    /// By whom.
    pub published_by: String,
}

/// All published migrations in order.
pub async fn list(connection: &mut PgConnection) -> Result<Vec<Published>> {
    let query = sqlx::query_as!(
        Published,
        "SELECT version, name, sql, published_at, published_by FROM migrations ORDER BY version"
    );
    Ok(query.fetch_all(connection).await?)
}

/// The newest published version; 0 before the first.
pub async fn newest_version(connection: &mut PgConnection) -> Result<i32> {
    let query = sqlx::query_scalar!(r#"SELECT coalesce(max(version), 0) AS "version!" FROM migrations"#);
    Ok(query.fetch_one(connection).await?)
}

/// Keeps other publishers away until the transaction ends; readers go on.
pub async fn lock_in_txn(txn: &mut PgConnection) -> Result<()> {
    sqlx::query!("LOCK TABLE migrations IN SHARE ROW EXCLUSIVE MODE").execute(txn).await?;
    Ok(())
}

/// Appends one migration. The caller holds the lock and has checked that it extends the set.
pub async fn append_in_txn(txn: &mut PgConnection, version: i32, name: &str, sql: &str, by: &str) -> Result<()> {
    sqlx::query!(
        "INSERT INTO migrations (version, name, sql, published_by) VALUES ($1, $2, $3, $4)",
        version,
        name,
        sql,
        by
    )
    .execute(txn)
    .await?;
    Ok(())
}
