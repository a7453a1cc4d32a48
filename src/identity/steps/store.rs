//! All SQL on the table `sign_in_steps`. It is there from version 2 on.

use std::time::Duration;

use uuid::Uuid;

use crate::{
    error::Result,
    tenancy::{Param, Statements, TenantTxn},
    types::{Stream, TableName, UserId},
};

/// The table's name.
pub(in crate::identity) const TABLE: TableName = TableName::of(Stream::Freehold, "sign_in_steps");

/// Takes the same user's expired ones away too: nothing else does.
const BEGIN: &str = "
    WITH expired AS (
        DELETE FROM freehold.sign_in_steps WHERE user_id = $2 AND expires_at <= now()
    )
    INSERT INTO freehold.sign_in_steps (token_hash, user_id, purpose, expires_at)
    VALUES ($1, $2, $3, now() + make_interval(secs => $4))";

const FIND: &str =
    "SELECT user_id FROM freehold.sign_in_steps WHERE token_hash = $1 AND purpose = $2 AND expires_at > now()";

const TAKE: &str = "DELETE FROM freehold.sign_in_steps
    WHERE token_hash = $1 AND purpose = $2 AND expires_at > now() RETURNING user_id";

const END: &str = "DELETE FROM freehold.sign_in_steps WHERE user_id = $1";

/// Stores a step.
pub(super) async fn begin(
    txn: &TenantTxn<'_>,
    token_hash: &[u8],
    (user, purpose): (UserId, &str),
    lifetime: Duration,
) -> Result<()> {
    let params: [Param<'_>; 4] = [&token_hash, &user.uuid(), &purpose, &lifetime.as_secs_f64()];
    txn.run(BEGIN, &params).await?;
    Ok(())
}

/// Whose open step has this digest and purpose.
pub(super) async fn find(statements: &impl Statements, token_hash: &[u8], purpose: &str) -> Result<Option<UserId>> {
    user(statements, FIND, (token_hash, purpose)).await
}

/// Deletes the open step with this digest and purpose; whose it was.
pub(super) async fn take(txn: &TenantTxn<'_>, token_hash: &[u8], purpose: &str) -> Result<Option<UserId>> {
    user(txn, TAKE, (token_hash, purpose)).await
}

async fn user(
    statements: &impl Statements,
    sql: &'static str,
    (token_hash, purpose): (&[u8], &str),
) -> Result<Option<UserId>> {
    let Some(row) = statements.row(sql, &[&token_hash, &purpose]).await? else { return Ok(None) };
    Ok(Some(UserId::from_uuid(row.try_get::<_, Uuid>("user_id")?)))
}

/// Deletes all of a user's.
pub(super) async fn end(txn: &TenantTxn<'_>, user: UserId) -> Result<()> {
    txn.run(END, &[&user.uuid()]).await?;
    Ok(())
}

const PURGE: &str = "DELETE FROM freehold.sign_in_steps WHERE token_hash IN (
    SELECT token_hash FROM freehold.sign_in_steps WHERE expires_at <= now() LIMIT $1)";

/// Takes away steps whose time is over; how many.
pub(in crate::identity) async fn purge(statements: &impl Statements, limit: i64) -> Result<u64> {
    Ok(statements.run(PURGE, &[&limit]).await?)
}
