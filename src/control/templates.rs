//! Table `templates`: what the schema of each template really is, by its fingerprint.

use std::collections::HashMap;

use sqlx::PgConnection;

use crate::error::Result;

/// Records the schema of a template that was built on a server of this major version.
pub async fn record(connection: &mut PgConnection, name: &str, server_major: i32, fingerprint: &str) -> Result<()> {
    sqlx::query!(
        "INSERT INTO templates (name, server_major, schema_fingerprint) VALUES ($1, $2, $3)
         ON CONFLICT (name, server_major) DO UPDATE
         SET schema_fingerprint = excluded.schema_fingerprint, built_at = now()",
        name,
        server_major,
        fingerprint
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The fingerprints of all templates, by name and the server's major version.
pub async fn fingerprints(connection: &mut PgConnection) -> Result<HashMap<(String, i32), String>> {
    let rows =
        sqlx::query!("SELECT name, server_major, schema_fingerprint FROM templates").fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| ((row.name, row.server_major), row.schema_fingerprint)).collect())
}
