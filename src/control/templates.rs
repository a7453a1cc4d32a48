//! Table `templates`: what the schema of each template really is, by its fingerprint and object by object.

use std::collections::HashMap;

use serde_json::Value;
use sqlx::PgConnection;

use crate::error::Result;

/// Records the schema of a template that was built on a server of this major version: its fingerprint, and its objects.
pub async fn record(
    connection: &mut PgConnection,
    name: &str,
    server_major: i32,
    (fingerprint, schema): (&str, &Value),
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO templates (name, server_major, schema_fingerprint, schema) VALUES ($1, $2, $3, $4)
         ON CONFLICT (name, server_major) DO UPDATE
         SET schema_fingerprint = excluded.schema_fingerprint, schema = excluded.schema, built_at = now()",
        name,
        server_major,
        fingerprint,
        schema
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The fingerprint of the template of this name on servers of this major version, and its objects: an earlier release
/// did not record those.
pub async fn schema(
    connection: &mut PgConnection,
    name: &str,
    server_major: i32,
) -> Result<Option<(String, Option<Value>)>> {
    let row = sqlx::query!(
        "SELECT schema_fingerprint, schema FROM templates WHERE name = $1 AND server_major = $2",
        name,
        server_major
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| (row.schema_fingerprint, row.schema)))
}

/// The fingerprints of all templates, by name and the server's major version.
pub async fn fingerprints(connection: &mut PgConnection) -> Result<HashMap<(String, i32), String>> {
    let rows =
        sqlx::query!("SELECT name, server_major, schema_fingerprint FROM templates").fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| ((row.name, row.server_major), row.schema_fingerprint)).collect())
}
