//! All SQL on the table `invitations`.

use crate::{
    error::Result,
    tenancy::{Statements, TenantTxn},
    types::{InvitationId, Stream, TableName},
};

/// The table's name.
pub(in crate::identity) const TABLE: TableName = TableName::of(Stream::Freehold, "invitations");

/// An SQL statement: invites the first administrator with the address `$2` and the role `$4`, if `$people` has a row.
macro_rules! add_first {
    ($people:literal, id = $id:literal, hash = $hash:literal, expires = $expires:literal) => {
        concat!(
            "INSERT INTO freehold.invitations (id, email, role, token_hash, invited_by, expires_at)
             SELECT ",
            $id,
            "::uuid, $2, $4, ",
            $hash,
            "::bytea, 'system', ",
            $expires,
            "::timestamptz FROM ",
            $people,
            " ON CONFLICT (token_hash) DO NOTHING"
        )
    };
}
pub(in crate::identity) use add_first;

macro_rules! is_open {
    () => {
        " token_hash = $1 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > now()"
    };
}

const OPEN: &str = concat!("SELECT email FROM freehold.invitations WHERE", is_open!());

const IS_OPEN: &str = concat!("SELECT", is_open!(), " AS is_open FROM freehold.invitations WHERE token_hash = $1");

const TAKE: &str =
    concat!("UPDATE freehold.invitations SET accepted_at = now() WHERE", is_open!(), " RETURNING id, email, role");

/// An invitation that was accepted just now.
pub(super) struct Taken {
    pub(super) id: InvitationId,
    pub(super) email: String,
    pub(super) role: String,
}

/// The email address of the open invitation with this secret.
pub(super) async fn open(statements: &impl Statements, token_hash: &[u8]) -> Result<Option<String>> {
    let row = statements.row(OPEN, &[&token_hash]).await?;
    Ok(row.map(|row| row.try_get("email")).transpose()?)
}

/// Whether the invitation with this secret is open; none where there is no such invitation.
pub(super) async fn is_open(statements: &impl Statements, token_hash: &[u8]) -> Result<Option<bool>> {
    let row = statements.row(IS_OPEN, &[&token_hash]).await?;
    Ok(row.map(|row| row.try_get("is_open")).transpose()?)
}

/// Ends the open invitation with this secret. Of several concurrent calls, one succeeds.
pub(super) async fn take(txn: &TenantTxn<'_>, token_hash: &[u8]) -> Result<Option<Taken>> {
    let Some(row) = txn.row(TAKE, &[&token_hash]).await? else { return Ok(None) };
    let id = InvitationId::from_uuid(row.try_get("id")?);
    Ok(Some(Taken { id, email: row.try_get("email")?, role: row.try_get("role")? }))
}
