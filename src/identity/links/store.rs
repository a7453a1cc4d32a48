//! All SQL on the table `account_tokens`.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use tokio_postgres::Row;
use uuid::Uuid;

use super::Purpose;
use crate::{
    error::Result,
    identity::Client,
    tenancy::{Param, Statements, TenantTxn},
    types::{Email, SessionId, Stream, TableName, UserId},
};

/// The table's name.
pub(in crate::identity) const TABLE: TableName = TableName::of(Stream::Freehold, "account_tokens");

/// Mails to one address are counted one after another.
const LOCK_ADDRESS: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";

/// What [`ISSUE`] does for a registration that is not stored, because the address has got its mails of this hour.
const CONTEST: &str = "UPDATE freehold.account_tokens o SET contested = true
    WHERE email = $1 AND purpose = 'verification' AND password_hash IS NOT NULL AND used_at IS NULL
      AND expires_at > now()
      AND (SELECT set_masklen(o.ip, m.bits)::cidr <> set_masklen($2::inet, m.bits)::cidr
           FROM (SELECT CASE WHEN family(o.ip) = 6 AND family($2::inet) = 6 THEN 64 ELSE 32 END AS bits) m)";

const MAILED: &str = "SELECT count(*) AS mailed FROM freehold.account_tokens
    WHERE email = $1 AND purpose = $2 AND created_at > now() - interval '1 hour'";

/// A registration is contested when the pending one came from another network, or is contested itself.
///
/// What is asked for is void when the same is asked for again. What takes something back stays: each undo of an address
/// until it expires, since no number of later notices may push it out, and twenty notices of each account.
const ISSUE: &str = "
    WITH surplus AS (
        DELETE FROM freehold.account_tokens WHERE token_hash IN (
            SELECT token_hash FROM freehold.account_tokens WHERE user_id = $3 AND purpose = 'not_me'
            ORDER BY created_at DESC OFFSET 19)
    ), void AS (
        UPDATE freehold.account_tokens SET used_at = now()
        WHERE used_at IS NULL AND purpose = $2 AND purpose NOT IN ('email_undo', 'not_me')
          AND (user_id = $3 OR purpose = 'verification' AND email = $4)
    ), pending AS (
        SELECT o.contested OR set_masklen(o.ip, m.bits)::cidr <> set_masklen($7::inet, m.bits)::cidr AS is_others
        FROM freehold.account_tokens o,
             LATERAL (SELECT CASE WHEN family(o.ip) = 6 AND family($7::inet) = 6 THEN 64 ELSE 32 END AS bits) m
        WHERE o.email = $4 AND o.purpose = 'verification' AND o.password_hash IS NOT NULL
          AND o.used_at IS NULL AND o.expires_at > now()
    )
    INSERT INTO freehold.account_tokens
        (token_hash, purpose, user_id, email, password_hash, name, ip, contested, expires_at, session_id)
    SELECT $1::bytea, $2::text, $3::uuid, $4::text, $5::text, $6::text, $7::inet,
        $5 IS NOT NULL
            AND (EXISTS (SELECT FROM pending WHERE is_others) OR $8::boolean AND NOT EXISTS (SELECT FROM pending)),
        now() + make_interval(secs => $9), $10::uuid";

macro_rules! is_open {
    () => {
        " token_hash = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > now()"
    };
}

macro_rules! columns {
    () => {
        "user_id, email, password_hash, name, ip, contested, session_id, created_at"
    };
}

const FIND: &str = concat!("SELECT ", columns!(), " FROM freehold.account_tokens WHERE", is_open!());

const TAKE: &str =
    concat!("UPDATE freehold.account_tokens SET used_at = now() WHERE", is_open!(), " RETURNING ", columns!());

const IS_OPEN: &str = "SELECT used_at IS NULL AND expires_at > now() AS is_open FROM freehold.account_tokens
    WHERE token_hash = $1 AND purpose = $2";

const END: &str = "UPDATE freehold.account_tokens SET used_at = now()
    WHERE user_id = $1 AND used_at IS NULL AND purpose IN ('verification', 'password_reset', 'email_change')";

/// Only what came later: whoever takes the address after the owner must not be able to void the owner's link.
const END_LATER: &str = "UPDATE freehold.account_tokens SET used_at = now()
    WHERE user_id = $1 AND used_at IS NULL
      AND (purpose = 'email_undo' AND created_at >= $2 OR purpose = 'not_me' AND email <> $3)";

const PURGE: &str = "DELETE FROM freehold.account_tokens WHERE token_hash IN (
    SELECT token_hash FROM freehold.account_tokens WHERE expires_at < now() - interval '1 day' LIMIT $1)";

const NEWEST_REGISTRATION: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM freehold.account_tokens
     WHERE email = $1 AND purpose = 'verification' AND password_hash IS NOT NULL AND used_at IS NULL
       AND expires_at > now() ORDER BY created_at DESC LIMIT 1"
);

/// A link to store.
pub(in crate::identity) struct New<'a> {
    pub(in crate::identity) purpose: Purpose,
    pub(in crate::identity) user: Option<UserId>,
    pub(in crate::identity) email: &'a Email,
    pub(in crate::identity) password_hash: Option<&'a str>,
    pub(in crate::identity) name: Option<&'a str>,
    pub(in crate::identity) ip: IpAddr,
    /// Whether the address has an account already that has not proven it.
    pub(in crate::identity) is_in_use: bool,
    /// The session that asks for it, if it is to end with that.
    pub(in crate::identity) session: Option<SessionId>,
}

impl<'a> New<'a> {
    /// A link about an account.
    pub(in crate::identity) fn about(user: UserId, purpose: Purpose, email: &'a Email, client: &Client) -> Self {
        let ip = client.ip.to_canonical();
        Self { purpose, user: Some(user), email, password_hash: None, name: None, ip, is_in_use: false, session: None }
    }
}

/// What a link is about.
pub(in crate::identity) struct Taken {
    /// The account, if there was one.
    pub(in crate::identity) user: Option<UserId>,
    /// The address that it was mailed to. Not to be logged.
    pub(in crate::identity) email: String,
    /// The hash of the password that was registered.
    pub(in crate::identity) password_hash: Option<String>,
    /// The name that was registered.
    pub(in crate::identity) name: Option<String>,
    /// Where it was asked for.
    pub(in crate::identity) ip: Option<IpAddr>,
    /// Whether nobody knows whose password it is.
    pub(in crate::identity) is_contested: bool,
    /// The session that asked for it, if it ends with that.
    pub(in crate::identity) session: Option<SessionId>,
    /// When it was stored: in the transaction of what it is about.
    pub(in crate::identity) created_at: DateTime<Utc>,
}

/// Waits for whoever else has a link mailed to this address.
pub(super) async fn lock_address(txn: &TenantTxn<'_>, email: &Email) -> Result<()> {
    txn.row(LOCK_ADDRESS, &[&email.as_str()]).await?;
    Ok(())
}

/// How many links of this purpose were mailed to the address in the last hour.
pub(super) async fn mailed(txn: &TenantTxn<'_>, email: &Email, purpose: &str) -> Result<i64> {
    let row = txn.row(MAILED, &[&email.as_str(), &purpose]).await?;
    Ok(row.map(|row| row.try_get("mailed")).transpose()?.unwrap_or_default())
}

/// Stores a link.
pub(super) async fn issue(txn: &TenantTxn<'_>, token_hash: &[u8], new: &New<'_>) -> Result<()> {
    let (purpose, user) = (new.purpose.as_str(), new.user.map(UserId::uuid));
    let lifetime = new.purpose.lifetime().as_secs_f64();
    let (email, session) = (new.email.as_str(), new.session.map(SessionId::uuid));
    let params: [Param<'_>; 10] = [
        &token_hash,
        &purpose,
        &user,
        &email,
        &new.password_hash,
        &new.name,
        &new.ip,
        &new.is_in_use,
        &lifetime,
        &session,
    ];
    txn.run(ISSUE, &params).await?;
    Ok(())
}

/// Notes that others want to register with the address too.
pub(in crate::identity) async fn contest(txn: &TenantTxn<'_>, email: &Email, ip: IpAddr) -> Result<()> {
    txn.run(CONTEST, &[&email.as_str(), &ip]).await?;
    Ok(())
}

/// What an open link is about.
pub(super) async fn find(statements: &impl Statements, token_hash: &[u8], purpose: &str) -> Result<Option<Taken>> {
    statements.row(FIND, &[&token_hash, &purpose]).await?.map(|row| read(&row)).transpose()
}

/// Uses a link up.
pub(super) async fn take(txn: &TenantTxn<'_>, token_hash: &[u8], purpose: &str) -> Result<Option<Taken>> {
    txn.row(TAKE, &[&token_hash, &purpose]).await?.map(|row| read(&row)).transpose()
}

/// Whether a link is open; none where there is no such link.
pub(super) async fn is_open(statements: &impl Statements, token_hash: &[u8], purpose: &str) -> Result<Option<bool>> {
    let row = statements.row(IS_OPEN, &[&token_hash, &purpose]).await?;
    Ok(row.map(|row| row.try_get("is_open")).transpose()?)
}

/// Takes away links that have ended for a day; how many.
pub(in crate::identity) async fn purge(statements: &impl Statements, limit: i64) -> Result<u64> {
    Ok(statements.run(PURGE, &[&limit]).await?)
}

/// Ends what was asked for about an account. What takes something back stays.
pub(in crate::identity) async fn end(txn: &TenantTxn<'_>, user: UserId) -> Result<()> {
    txn.run(END, &[&user.uuid()]).await?;
    Ok(())
}

/// Ends what later changes of an account's address could be taken back with, and the notices that were mailed to other
/// addresses than `email`, which is the account's again.
pub(in crate::identity) async fn end_later(
    txn: &TenantTxn<'_>,
    user: UserId,
    (since, email): (DateTime<Utc>, &Email),
) -> Result<()> {
    txn.run(END_LATER, &[&user.uuid(), &since, &email.as_str()]).await?;
    Ok(())
}

/// The registration that would count if the address were proven now.
pub(in crate::identity) async fn newest_registration(txn: &TenantTxn<'_>, email: &Email) -> Result<Option<Taken>> {
    txn.row(NEWEST_REGISTRATION, &[&email.as_str()]).await?.map(|row| read(&row)).transpose()
}

fn read(row: &Row) -> Result<Taken> {
    Ok(Taken {
        user: row.try_get::<_, Option<Uuid>>("user_id")?.map(UserId::from_uuid),
        email: row.try_get("email")?,
        password_hash: row.try_get("password_hash")?,
        name: row.try_get("name")?,
        ip: row.try_get("ip")?,
        is_contested: row.try_get("contested")?,
        session: row.try_get::<_, Option<Uuid>>("session_id")?.map(SessionId::from_uuid),
        created_at: row.try_get("created_at")?,
    })
}
