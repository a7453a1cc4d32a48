//! All SQL on the table `users`, and the parts of other modules' statements that use it, so that a query on several
//! tables is one statement.

use tokio_postgres::{Client, Row};

use super::Account;
use crate::{
    error::Result,
    identity::{credentials, settings},
    tenancy::{Statements, TenantTxn},
    types::{DisplayName, Email, UserId},
};

/// An SQL join: the user with the id `$id` as `u`, if they are active.
macro_rules! join_active {
    ($id:literal) => {
        concat!(" JOIN freehold.users u ON u.id = ", $id, " AND u.active")
    };
}
pub(in crate::identity) use join_active;

/// An SQL query: the id and role of the user with the id `$id`, if they are active.
macro_rules! active {
    ($id:literal) => {
        concat!("SELECT id, role FROM freehold.users WHERE active AND id = ", $id)
    };
}
pub(in crate::identity) use active;

/// An SQL expression: the id of the user with the email address `$email`, or NULL.
macro_rules! id_of {
    ($email:literal) => {
        concat!("(SELECT id FROM freehold.users WHERE email = ", $email, ")")
    };
}
pub(in crate::identity) use id_of;

/// An SQL statement: inserts the user with the id `$1`, the email address `$2`, the name `$3` and the role `$4`, unless
/// they exist. `$entry` is a statement that reads them from `admin`. If there are other users, inserts nothing. Returns
/// whether there are other users.
macro_rules! add_first {
    (verified = $verified_at:literal, $entry:expr) => {
        concat!(
            "WITH others AS (SELECT FROM freehold.users WHERE email <> $2 LIMIT 1), added AS (
                 INSERT INTO freehold.users (id, email, name, role, email_verified_at)
                 SELECT $1::uuid, $2, $3, $4, ",
            $verified_at,
            " WHERE NOT EXISTS (SELECT FROM others)
                 ON CONFLICT (email) DO NOTHING RETURNING id
             ), admin AS (
                 SELECT id FROM added
                 UNION ALL SELECT id FROM freehold.users WHERE email = $2 AND NOT EXISTS (SELECT FROM others)
             ), entry AS (",
            $entry,
            ")
             SELECT EXISTS (SELECT FROM others) AS has_others"
        )
    };
}
pub(in crate::identity) use add_first;

/// What [`read_account`] reads.
macro_rules! account {
    () => {
        concat!(
            "SELECT u.id, u.email, u.active, u.email_verified_at IS NOT NULL OR ",
            settings::lets_unverified_in!(),
            " AS verified, ",
            credentials::password_hash!("u.id"),
            " AS password_hash, ",
            credentials::must_change!("u.id"),
            " AS must_change, ",
            credentials::has_factor!("u.id"),
            " AS has_factor, ",
            settings::is!("mfa_required", "true"),
            " AS needs_factor FROM freehold.users u WHERE "
        )
    };
}

const ACCOUNT: &str = concat!(account!(), "u.email = $1");

const ACCOUNT_OF: &str = concat!(account!(), "u.id = $1");

/// Waits for whoever else changes how the user signs in. A reference to the user need not wait.
const LOCK: &str = "SELECT FROM freehold.users WHERE id = $1 FOR NO KEY UPDATE";

const PROFILE: &str = concat!(
    "SELECT u.email, u.name, u.email_verified_at IS NOT NULL AS verified, ",
    credentials::has_factor!("u.id"),
    " AS has_factor FROM freehold.users u WHERE u.id = $1"
);

const COUNT: &str = "SELECT count(*) AS people FROM freehold.users";

const HOLDS: &str = "SELECT FROM freehold.users WHERE email = $1 AND role = $2";

const HAS_PASSWORD: &str =
    concat!("SELECT FROM freehold.users u WHERE u.email = $1 AND ", credentials::has_password!("u.id"));

const IS_THERE: &str = "SELECT to_regclass('freehold.users') IS NOT NULL AS is_there";

const HAS_OTHERS: &str =
    "SELECT EXISTS (SELECT FROM freehold.users WHERE $1::text IS NULL OR lower(email) <> lower($1)) AS has_others";

/// A user without a password may exist already: a tenant's first administrator does.
const INVITED: &str = concat!(
    "INSERT INTO freehold.users AS u (id, email, name, role, email_verified_at)
     VALUES ($1, $2, coalesce($3, split_part($2, '@', 1)), $4, now())
     ON CONFLICT (email) DO UPDATE
         SET name = coalesce($3, u.name), role = excluded.role, email_verified_at = now(), updated_at = now(),
             version = u.version + 1
         WHERE u.active AND NOT ",
    credentials::has_password!("u.id"),
    " RETURNING id"
);

/// What a user is told about themselves.
pub(super) struct Profile {
    pub(super) email: String,
    pub(super) name: String,
    pub(super) is_verified: bool,
    pub(super) has_factor: bool,
}

/// The user with this email address. Does the same work when there is none.
pub(in crate::identity) async fn account(
    statements: &impl Statements,
    email: Option<&Email>,
) -> Result<Option<Account>> {
    statements.row(ACCOUNT, &[&email.map(Email::as_str)]).await?.map(|row| read_account(&row)).transpose()
}

/// The account of `user`.
pub(in crate::identity) async fn account_of(statements: &impl Statements, user: UserId) -> Result<Option<Account>> {
    statements.row(ACCOUNT_OF, &[&user.uuid()]).await?.map(|row| read_account(&row)).transpose()
}

/// The account of `user`, as it is once nobody else changes how they sign in. Nobody does until the transaction ends.
pub(in crate::identity) async fn lock_account_in_txn(txn: &TenantTxn<'_>, user: UserId) -> Result<Option<Account>> {
    // A statement of its own: one that waits for a row reads others as they were before.
    txn.row(LOCK, &[&user.uuid()]).await?;
    account_of(txn, user).await
}

fn read_account(row: &Row) -> Result<Account> {
    Ok(Account {
        user: UserId::from_uuid(row.try_get("id")?),
        email: row.try_get("email")?,
        is_active: row.try_get("active")?,
        is_verified: row.try_get("verified")?,
        password_hash: row.try_get("password_hash")?,
        must_change: row.try_get("must_change")?,
        has_factor: row.try_get("has_factor")?,
        needs_factor: row.try_get("needs_factor")?,
    })
}

/// What `user` is told about themselves.
pub(super) async fn profile(statements: &impl Statements, user: UserId) -> Result<Option<Profile>> {
    let Some(row) = statements.row(PROFILE, &[&user.uuid()]).await? else { return Ok(None) };
    let (email, name) = (row.try_get("email")?, row.try_get("name")?);
    let (is_verified, has_factor) = (row.try_get("verified")?, row.try_get("has_factor")?);
    Ok(Some(Profile { email, name, is_verified, has_factor }))
}

/// How many users there are.
pub(super) async fn count(statements: &impl Statements) -> Result<i64> {
    let row = statements.row(COUNT, &[]).await?;
    Ok(row.map(|row| row.try_get("people")).transpose()?.unwrap_or_default())
}

/// Whether a user with this email address has this role.
pub(in crate::identity) async fn holds(statements: &impl Statements, email: &Email, role: &str) -> Result<bool> {
    Ok(statements.row(HOLDS, &[&email.as_str(), &role]).await?.is_some())
}

/// Whether a user with this email address has a password.
pub(in crate::identity) async fn has_password(statements: &impl Statements, email: &Email) -> Result<bool> {
    Ok(statements.row(HAS_PASSWORD, &[&email.as_str()]).await?.is_some())
}

/// Creates a user for the invited person. If a user with the email address exists, sets the user's role to the invited
/// one. Returns `None` when that user is in use: when they have a password, or were deactivated.
pub(in crate::identity) async fn invited(
    txn: &TenantTxn<'_>,
    id: UserId,
    (email, role): (&str, &str),
    name: Option<&DisplayName>,
) -> Result<Option<UserId>> {
    let name = name.map(DisplayName::as_str);
    let row = txn.row(INVITED, &[&id.uuid(), &email, &name, &role]).await?;
    Ok(row.map(|row| row.try_get("id")).transpose()?.map(UserId::from_uuid))
}

/// Whether a database has the table of people already. Takes a bare session: it may be no tenant's yet.
///
/// # Errors
/// PostgreSQL's.
pub async fn are_kept(session: &Client) -> Result<bool, tokio_postgres::Error> {
    session.query_one(IS_THERE, &[]).await?.try_get("is_there")
}

/// Whether the database of `session` has users other than the one with the email address `own`. For operations on a
/// database whose tenant is not open.
///
/// # Errors
/// PostgreSQL's.
pub async fn holds_others(session: &Client, own: Option<&Email>) -> Result<bool, tokio_postgres::Error> {
    session.query_one(HAS_OTHERS, &[&own.map(Email::as_str)]).await?.try_get("has_others")
}
