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

/// A query: the token with the digest `$hash`, if it is spent, and whether that was within the last `$time`.
macro_rules! spent {
    ($hash:literal, within $time:literal) => {
        concat!(
            "SELECT session_id, used_at > now() - interval '",
            $time,
            "' AS lately FROM freehold.refresh_tokens WHERE used_at IS NOT NULL AND token_hash = ",
            $hash
        )
    };
}
pub(in crate::identity) use spent;

/// A join: the token with the digest `$hash` of the session `$session` as `t`, if none of the access tokens that were
/// issued with it was shown yet.
macro_rules! left_join_unconfirmed {
    ($session:literal, $hash:literal) => {
        concat!(
            " LEFT JOIN freehold.refresh_tokens t ON t.token_hash = ",
            $hash,
            " AND t.session_id = ",
            $session,
            " AND t.confirmed_at IS NULL"
        )
    };
}
pub(in crate::identity) use left_join_unconfirmed;

/// A statement: notes that an access token was shown that was issued with the token with the digest `$hash`.
macro_rules! confirm {
    ($hash:literal) => {
        concat!(
            "UPDATE freehold.refresh_tokens SET confirmed_at = now() WHERE token_hash = ",
            $hash,
            " AND confirmed_at IS NULL RETURNING session_id"
        )
    };
}
pub(in crate::identity) use confirm;

const HAS_ARRIVED_NOWHERE: &str =
    "SELECT FROM freehold.refresh_tokens WHERE token_hash = $1 AND used_at IS NULL AND confirmed_at IS NULL";

/// The same in a database of version 1, which does not know what was shown.
const IS_UNSPENT: &str = "SELECT FROM freehold.refresh_tokens WHERE token_hash = $1 AND used_at IS NULL";

const WAS_ISSUED: &str = "SELECT FROM freehold.refresh_tokens WHERE token_hash = $1";

/// Whether the token with this digest was ever stored, whatever has become of it.
pub(in crate::identity) async fn was_issued(statements: &impl Statements, token_hash: &[u8]) -> Result<bool> {
    Ok(statements.row(WAS_ISSUED, &[&token_hash]).await?.is_some())
}

/// Whether the token with this digest was stored, and neither it nor an access token that was issued with it was shown
/// yet: whoever was to get it may never have.
pub(in crate::identity) async fn has_arrived_nowhere(
    statements: &impl Statements,
    token_hash: &[u8],
    is_confirmed: bool,
) -> Result<bool> {
    let sql = if is_confirmed { HAS_ARRIVED_NOWHERE } else { IS_UNSPENT };
    Ok(statements.row(sql, &[&token_hash]).await?.is_some())
}

/// An expired token opens nothing. Until then a spent one may be a thief's, which its second use shows.
const PURGE: &str = "DELETE FROM freehold.refresh_tokens WHERE token_hash IN (
    SELECT token_hash FROM freehold.refresh_tokens WHERE used_at IS NOT NULL AND expires_at < now() LIMIT $1)";

/// Takes away spent tokens that have expired; how many.
pub(in crate::identity) async fn purge(statements: &impl Statements, limit: i64) -> Result<u64> {
    Ok(statements.run(PURGE, &[&limit]).await?)
}
