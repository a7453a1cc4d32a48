//! All SQL on the table `invitations`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::manage::{Filter, Invitation, State};
use crate::{
    error::{Error, Result},
    tenancy::{Param, Statements, TenantTxn},
    types::{Email, InvitationId, RoleName, Stream, TableName, UserId},
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

macro_rules! listed {
    () => {
        "id, email, role, invited_by, created_at, expires_at, accepted_at,
         CASE WHEN accepted_at IS NOT NULL THEN 'accepted' WHEN revoked_at IS NOT NULL THEN 'revoked'
              WHEN expires_at <= now() THEN 'expired' ELSE 'open' END AS state"
    };
}

/// Adds none while the address has an open one. The roster's lock keeps two from being added at once.
const ADD: &str = concat!(
    "INSERT INTO freehold.invitations (id, email, role, token_hash, invited_by, expires_at)
     SELECT $1::uuid, $2::text, $3::text, $4::bytea, $5::text, $6::timestamptz
     WHERE NOT EXISTS (SELECT FROM freehold.invitations
                       WHERE email = $2 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > now())
     RETURNING ",
    listed!()
);

const GET: &str = concat!("SELECT ", listed!(), " FROM freehold.invitations WHERE id = $1");

/// Ids are in the order of their making.
const PAGE: &str = concat!(
    "SELECT ",
    listed!(),
    " FROM freehold.invitations
     WHERE ($1::uuid IS NULL OR id < $1) AND ($2::text IS NULL OR email = $2)
       AND ($3::text IS NULL OR $3 = CASE WHEN accepted_at IS NOT NULL THEN 'accepted'
            WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= now() THEN 'expired' ELSE 'open' END)
     ORDER BY id DESC LIMIT $4"
);

/// None while the address has another open one.
const RENEW: &str = concat!(
    "UPDATE freehold.invitations i SET token_hash = $2, invited_by = $3, expires_at = $4
     WHERE id = $1 AND accepted_at IS NULL AND revoked_at IS NULL
       AND NOT EXISTS (SELECT FROM freehold.invitations o
                       WHERE o.email = i.email AND o.id <> i.id AND o.accepted_at IS NULL AND o.revoked_at IS NULL
                         AND o.expires_at > now())
     RETURNING ",
    listed!()
);

const REVOKE: &str = "UPDATE freehold.invitations SET revoked_at = now()
    WHERE id = $1 AND accepted_at IS NULL AND revoked_at IS NULL";

const REVOKE_MADE_BY: &str = "UPDATE freehold.invitations SET revoked_at = now()
    WHERE invited_by = $1 AND accepted_at IS NULL AND revoked_at IS NULL";

const FORGET_ENDED: &str = "DELETE FROM freehold.invitations
    WHERE role = $1 AND (accepted_at IS NOT NULL OR revoked_at IS NOT NULL OR expires_at <= now())";

/// An invitation to insert.
pub(super) struct New<'a> {
    pub(super) id: InvitationId,
    pub(super) email: &'a Email,
    pub(super) role: &'a str,
    pub(super) token_hash: Vec<u8>,
    pub(super) inviter: String,
    pub(super) expires_at: DateTime<Utc>,
}

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

fn read(row: &Row) -> Result<Invitation> {
    let state: &str = row.try_get("state")?;
    let all = [State::Open, State::Accepted, State::Revoked, State::Expired];
    let unknown = || Error::defect(format!("an invitation is {state}"));
    Ok(Invitation {
        id: InvitationId::from_uuid(row.try_get("id")?),
        email: row.try_get("email")?,
        role: row.try_get("role")?,
        invited_by: row.try_get("invited_by")?,
        state: all.into_iter().find(|one| one.as_str() == state).ok_or_else(unknown)?,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        accepted_at: row.try_get("accepted_at")?,
    })
}

/// Adds an invitation, unless its address has an open one.
pub(super) async fn add(txn: &TenantTxn<'_>, new: &New<'_>) -> Result<Option<Invitation>> {
    let (id, email) = (new.id.uuid(), new.email.as_str());
    let params: [Param<'_>; 6] = [&id, &email, &new.role, &new.token_hash, &new.inviter, &new.expires_at];
    txn.row(ADD, &params).await?.map(|row| read(&row)).transpose()
}

/// One invitation, whatever has become of it.
pub(super) async fn get(statements: &impl Statements, id: InvitationId) -> Result<Option<Invitation>> {
    statements.row(GET, &[&id.uuid()]).await?.map(|row| read(&row)).transpose()
}

/// One page, the newest first.
pub(super) async fn page(
    statements: &impl Statements,
    filter: &Filter,
    after: Option<InvitationId>,
    limit: i64,
) -> Result<Vec<Invitation>> {
    let (after, email) = (after.map(InvitationId::uuid), filter.email.as_ref().map(Email::as_str));
    let state = filter.state.map(State::as_str);
    let params: [Param<'_>; 4] = [&after, &email, &state, &limit];
    statements.rows(PAGE, &params).await?.iter().map(read).collect()
}

/// Gives an invitation that was neither accepted nor revoked another secret.
pub(super) async fn renew(
    txn: &TenantTxn<'_>,
    id: InvitationId,
    token_hash: &[u8],
    (inviter, expires_at): (&str, DateTime<Utc>),
) -> Result<Option<Invitation>> {
    let params: [Param<'_>; 4] = [&id.uuid(), &token_hash, &inviter, &expires_at];
    txn.row(RENEW, &params).await?.map(|row| read(&row)).transpose()
}

/// Revokes an invitation that was not accepted.
pub(super) async fn revoke(txn: &TenantTxn<'_>, id: InvitationId) -> Result<()> {
    txn.run(REVOKE, &[&id.uuid()]).await?;
    Ok(())
}

/// Revokes what a user has invited others by.
pub(in crate::identity) async fn revoke_made_by(txn: &TenantTxn<'_>, inviter: UserId) -> Result<()> {
    txn.run(REVOKE_MADE_BY, &[&inviter.to_string()]).await?;
    Ok(())
}

/// Deletes the invitations to a role that nobody can accept any more: they would keep the role from being deleted.
pub(in crate::identity) async fn forget_ended(txn: &TenantTxn<'_>, role: &RoleName) -> Result<()> {
    txn.run(FORGET_ENDED, &[&role.as_str()]).await?;
    Ok(())
}

const PURGE: &str = "DELETE FROM freehold.invitations WHERE id IN (
    SELECT id FROM freehold.invitations
    WHERE least(expires_at, accepted_at, revoked_at) < now() - make_interval(secs => $1) LIMIT $2)";

/// Takes away invitations that ended before this time; how many.
pub(in crate::identity) async fn purge(statements: &impl Statements, kept: Duration, limit: i64) -> Result<u64> {
    Ok(statements.run(PURGE, &[&kept.as_secs_f64(), &limit]).await?)
}
