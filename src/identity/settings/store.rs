//! All SQL on the table `settings`, and the parts of other modules' statements that use it.

use serde_json::{Map, Value};

use crate::{
    error::Result,
    tenancy::{Statements, TenantTxn},
};

/// An SQL expression: whether people may sign in before their address is verified.
macro_rules! lets_unverified_in {
    () => {
        "EXISTS (SELECT FROM freehold.settings WHERE name = 'require_verified_email' AND value = 'false')"
    };
}
pub(in crate::identity) use lets_unverified_in;

/// An SQL expression: the number that the tenant has decided on under `$name`, or NULL.
macro_rules! number {
    ($name:literal) => {
        concat!("(SELECT (value #>> '{}')::float8 FROM freehold.settings WHERE name = '", $name, "')")
    };
}
pub(in crate::identity) use number;

/// An SQL expression: whether the tenant has decided on `$value`, a JSON text, under `$name`.
macro_rules! is {
    ($name:literal, $value:literal) => {
        concat!("EXISTS (SELECT FROM freehold.settings WHERE name = '", $name, "' AND value = '", $value, "')")
    };
}
pub(in crate::identity) use is;

/// An SQL expression: the time that the tenant has decided on under `$name`, or NULL.
macro_rules! time {
    ($name:literal) => {
        concat!("(SELECT (value #>> '{}')::timestamptz FROM freehold.settings WHERE name = '", $name, "')")
    };
}
pub(in crate::identity) use time;

const READ: &str =
    "SELECT name, value, (extract(epoch FROM updated_at) * 1000000)::bigint AS changed FROM freehold.settings";

/// All rows: two are there from the beginning, so that one change waits for the other.
const LOCK: &str = "SELECT FROM freehold.settings ORDER BY name FOR UPDATE";

const WRITE: &str = "INSERT INTO freehold.settings (name, value, updated_at)
    SELECT key, value, clock_timestamp() FROM jsonb_each($1::text::jsonb)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at";

/// What is decided, by its name, and the version: it rises with every change.
pub(super) async fn read(statements: &impl Statements) -> Result<(Map<String, Value>, i64)> {
    let (mut decided, mut version) = (Map::new(), 0);
    for row in statements.rows(READ, &[]).await? {
        version = row.try_get::<_, i64>("changed")?.max(version);
        decided.insert(row.try_get("name")?, row.try_get("value")?);
    }
    Ok((decided, version))
}

/// Waits for other changes; none begins until the transaction ends.
pub(super) async fn lock(txn: &TenantTxn<'_>) -> Result<()> {
    txn.rows(LOCK, &[]).await?;
    Ok(())
}

/// Stores decisions by their names.
pub(super) async fn write(txn: &TenantTxn<'_>, decided: &Map<String, Value>) -> Result<()> {
    let json = Value::Object(decided.clone()).to_string();
    txn.run(WRITE, &[&json]).await?;
    Ok(())
}
