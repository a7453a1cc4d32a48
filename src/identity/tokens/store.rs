//! Table `refresh_tokens`: the only SQL that speaks to it. Most of it is parts of the sessions' statements, which
//! hand tokens out and take them back.

use crate::{
    error::Result,
    tenancy::Statements,
    types::{Stream, TableName},
};

/// What it is called.
pub(in crate::identity) const TABLE: TableName = TableName::of(Stream::Freehold, "refresh_tokens");

/// A statement: stores the token with the digest `$hash` for the session in `$session`, until that expires.
macro_rules! issue {
    ($session:literal, $hash:literal) => {
        concat!(
            "INSERT INTO freehold.refresh_tokens (token_hash, session_id, expires_at) SELECT ",
            $hash,
            ", id, expires_at FROM ",
            $session
        )
    };
}
pub(in crate::identity) use issue;

/// A statement: spends the token with the digest `$hash`, if it is unspent. Of any number who try, one does.
macro_rules! spend {
    ($hash:literal) => {
        concat!(
            "UPDATE freehold.refresh_tokens SET used_at = now() WHERE token_hash = ",
            $hash,
            " AND used_at IS NULL AND expires_at > now() RETURNING session_id"
        )
    };
}
pub(in crate::identity) use spend;

/// A query: the token with the digest `$hash`, if it is spent, and whether that was just now.
macro_rules! spent {
    ($hash:literal) => {
        concat!(
            "SELECT session_id, used_at > now() - interval '10 seconds' AS just_now FROM freehold.refresh_tokens
             WHERE used_at IS NOT NULL AND token_hash = ",
            $hash
        )
    };
}
pub(in crate::identity) use spent;

const IS_UNUSED: &str = "SELECT FROM freehold.refresh_tokens WHERE token_hash = $1 AND used_at IS NULL";

/// Whether the token with this digest was stored and is unspent.
pub(in crate::identity) async fn is_unused(statements: &impl Statements, token_hash: &[u8]) -> Result<bool> {
    Ok(statements.row(IS_UNUSED, &[&token_hash]).await?.is_some())
}
