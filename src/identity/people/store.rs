//! All SQL on the table `users`, and the parts of other modules' statements that use it, so that a query on several
//! tables is one statement.

use std::collections::BTreeMap;

use tokio_postgres::{Client, Row, error::SqlState};
use uuid::Uuid;

use super::{
    Account, Known, New, Standing,
    directory::{Counts, Kind, Query, Sort, User, service_address},
};
use crate::{
    error::Result,
    identity::{
        credentials,
        roles::{self, Role},
        settings,
    },
    tenancy::{Param, StatementError, Statements, TenantTxn},
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

/// Waits for whoever else changes the user, or how they sign in. A reference to the user need not wait.
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

const KNOWS_DEVICE: &str =
    concat!("SELECT FROM freehold.users u WHERE u.email = $1 AND ", credentials::knows_device!("u.id", "$2"));

const IS_THERE: &str = "SELECT to_regclass('freehold.users') IS NOT NULL AS is_there";

const HAS_OTHERS: &str =
    "SELECT EXISTS (SELECT FROM freehold.users WHERE $1::text IS NULL OR lower(email) <> lower($1)) AS has_others";

const STANDING: &str = concat!(
    "SELECT u.id, u.active AND u.kind = 'person' AS may_enter, u.email_verified_at IS NOT NULL AS proven, u.role, ",
    credentials::has_any!("u.id"),
    " AS used FROM freehold.users u WHERE u.email = $1"
);

const REGISTER: &str = "INSERT INTO freehold.users (id, email, name, role, email_verified_at)
    VALUES ($1, $2, coalesce($3, split_part($2, '@', 1)), 'member', CASE WHEN $4 THEN now() END)
    ON CONFLICT (email) DO NOTHING";

const PROVE: &str = "UPDATE freehold.users SET name = coalesce($2, name), email_verified_at = now(),
        version = version + 1, updated_at = now()
    WHERE id = $1";

const READDRESS: &str = "UPDATE freehold.users SET email = $2, email_verified_at = now(), version = version + 1,
        updated_at = now()
    WHERE id = $1";

/// A user without a password may exist already: a tenant's first administrator does.
const INVITED: &str = concat!(
    "INSERT INTO freehold.users AS u (id, email, name, role, email_verified_at)
     VALUES ($1, $2, coalesce($3, split_part($2, '@', 1)), $4, now())
     ON CONFLICT (email) DO UPDATE
         SET name = coalesce($3, u.name), role = excluded.role, email_verified_at = now(), updated_at = now(),
             version = u.version + 1
         WHERE u.active AND NOT ",
    credentials::has_any!("u.id"),
    " RETURNING id"
);

macro_rules! columns {
    () => {
        "u.id, u.email, u.name, u.role, u.kind, u.active, u.email_verified_at IS NOT NULL AS verified, u.version,
         u.created_at, u.updated_at, u.deleted_at"
    };
}

/// `$1`: what to find in the name or the address; `$2`: the role; `$3`: the kind; `$4`: the state. Null: any, but no
/// deleted ones.
macro_rules! matching {
    () => {
        " FROM freehold.users u
         WHERE ($1::text IS NULL OR u.name ILIKE $1 OR u.email ILIKE $1 AND u.kind = 'person')
           AND ($2::text IS NULL OR u.role = $2) AND ($3::text IS NULL OR u.kind = $3)
           AND CASE $4::text WHEN 'active' THEN u.active WHEN 'inactive' THEN NOT u.active AND u.deleted_at IS NULL
               WHEN 'deleted' THEN u.deleted_at IS NOT NULL ELSE u.deleted_at IS NULL END"
    };
}

/// The page after `$6` and `$7`, or the first. Ids are in the order of their making.
macro_rules! page {
    (by $column:literal, $beyond:literal, $direction:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            matching!(),
            " AND ($6::text IS NULL OR (",
            $column,
            ", u.id) ",
            $beyond,
            " ($6, $7::uuid))
             ORDER BY ",
            $column,
            $direction,
            ", u.id",
            $direction,
            " LIMIT $5"
        )
    };
    ($beyond:literal, $direction:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            matching!(),
            " AND ($6::text IS NULL OR u.id ",
            $beyond,
            " $7::uuid)
             ORDER BY u.id",
            $direction,
            " LIMIT $5"
        )
    };
}

const OLDEST_FIRST: &str = page!(">", "");
const NEWEST_FIRST: &str = page!("<", " DESC");
const NAME_ASCENDING: &str = page!(by "u.name", ">", "");
const NAME_DESCENDING: &str = page!(by "u.name", "<", " DESC");
const EMAIL_ASCENDING: &str = page!(by "u.email", ">", "");
const EMAIL_DESCENDING: &str = page!(by "u.email", "<", " DESC");

const TOTAL: &str = concat!("SELECT count(*) AS total", matching!());

const GET: &str = concat!("SELECT ", columns!(), " FROM freehold.users u WHERE u.id = $1");

const KNOWN: &str = concat!(
    "SELECT ",
    columns!(),
    ", ",
    roles::columns!(),
    " FROM freehold.users u",
    roles::join!("u.role"),
    " WHERE u.id = $1"
);

const UPDATE: &str = concat!(
    "UPDATE freehold.users u SET name = $2, role = $3, active = $4, version = version + 1, updated_at = now()
     WHERE id = $1 RETURNING ",
    columns!()
);

const DELETE: &str =
    "UPDATE freehold.users SET active = false, deleted_at = now(), version = version + 1, updated_at = now()
    WHERE id = $1 AND deleted_at IS NULL";

const RESTORE: &str = concat!(
    "UPDATE freehold.users u SET active = true, deleted_at = NULL, version = version + 1, updated_at = now()
     WHERE id = $1 AND deleted_at IS NOT NULL RETURNING ",
    columns!()
);

const ERASE: &str = "DELETE FROM freehold.users WHERE id = $1 AND deleted_at IS NOT NULL";

macro_rules! is_due {
    () => {
        " deleted_at < now() - make_interval(days => $2)"
    };
}

const DUE: &str = concat!("SELECT id FROM freehold.users WHERE", is_due!(), " ORDER BY deleted_at, id LIMIT $1");

const ERASE_DUE: &str = concat!("DELETE FROM freehold.users WHERE id = $1 AND", is_due!());

const HAS_OTHER_OWNERS: &str = "SELECT FROM freehold.users
    WHERE role = 'owner' AND active AND id <> $1 LIMIT 1";

const ADD_SERVICE: &str = concat!(
    "INSERT INTO freehold.users AS u (id, email, name, role, kind) VALUES ($1, $2, $3, $4, 'service') RETURNING ",
    columns!()
);

/// Nobody is added whose address somebody has.
const ADD_ALL: &str = "INSERT INTO freehold.users (id, email, name, role, active, email_verified_at)
    SELECT id, email, name, role, active, CASE WHEN verified THEN now() END
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bool[], $6::bool[])
        AS new (id, email, name, role, active, verified)
    ON CONFLICT (email) DO NOTHING";

const WITH_ADDRESSES: &str = "SELECT email, id FROM freehold.users WHERE email = ANY($1)";

const OWNER_BY_EMAIL: &str = "SELECT id FROM freehold.users WHERE email = $1 AND role = 'owner' AND active";

const LONGEST_WITH: &str = "SELECT id FROM freehold.users WHERE role = $1 AND active AND kind = 'person'
    ORDER BY created_at, id LIMIT 1";

const COUNTS: &str = "SELECT count(*) FILTER (WHERE kind = 'person' AND deleted_at IS NULL) AS people,
        count(*) FILTER (WHERE kind = 'person' AND active) AS active,
        count(*) FILTER (WHERE kind = 'person' AND active AND email_verified_at IS NOT NULL) AS verified,
        count(*) FILTER (WHERE deleted_at IS NOT NULL) AS deleted,
        count(*) FILTER (WHERE kind = 'service' AND deleted_at IS NULL) AS services
    FROM freehold.users";

const BY_ROLE: &str = "SELECT role, count(*) AS people FROM freehold.users WHERE active GROUP BY role ORDER BY role";

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

/// Whether the user with this email address has a device that shows what has this digest. The same work when there is
/// none.
pub(in crate::identity) async fn knows_device(
    statements: &impl Statements,
    email: Option<&Email>,
    digest: &str,
) -> Result<bool> {
    Ok(statements.row(KNOWS_DEVICE, &[&email.map(Email::as_str), &digest]).await?.is_some())
}

/// The account of `user`.
pub(in crate::identity) async fn account_of(statements: &impl Statements, user: UserId) -> Result<Option<Account>> {
    statements.row(ACCOUNT_OF, &[&user.uuid()]).await?.map(|row| read_account(&row)).transpose()
}

/// The account of `user`, as it is once nobody else changes how they sign in. Nobody does until the transaction ends.
pub(in crate::identity) async fn lock_account_in_txn(txn: &TenantTxn<'_>, user: UserId) -> Result<Option<Account>> {
    lock_row(txn, user).await?;
    account_of(txn, user).await
}

/// A statement of its own: one that waits for a row reads others as they were before.
async fn lock_row(txn: &TenantTxn<'_>, user: UserId) -> Result<()> {
    txn.row(LOCK, &[&user.uuid()]).await?;
    Ok(())
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

/// What there is to know of whoever has this address, before they have shown that they are that.
pub(in crate::identity) async fn standing(statements: &impl Statements, email: &Email) -> Result<Option<Standing>> {
    let Some(row) = statements.row(STANDING, &[&email.as_str()]).await? else { return Ok(None) };
    Ok(Some(Standing {
        user: UserId::from_uuid(row.try_get("id")?),
        may_enter: row.try_get("may_enter")?,
        is_proven: row.try_get("proven")?,
        role: row.try_get("role")?,
        is_used: row.try_get("used")?,
    }))
}

/// Adds a member who has registered, and has proven the address or not. False when somebody has it.
pub(in crate::identity) async fn register(
    txn: &TenantTxn<'_>,
    id: UserId,
    (email, name): (&Email, Option<&str>),
    is_proven: bool,
) -> Result<bool> {
    Ok(txn.run(REGISTER, &[&id.uuid(), &email.as_str(), &name, &is_proven]).await? == 1)
}

/// Notes that a user has proven their address, and another name if there is one.
pub(in crate::identity) async fn prove(txn: &TenantTxn<'_>, id: UserId, name: Option<&str>) -> Result<()> {
    txn.run(PROVE, &[&id.uuid(), &name]).await?;
    Ok(())
}

/// Gives a user another address, which they have proven. False when somebody else has it.
pub(in crate::identity) async fn readdress(txn: &TenantTxn<'_>, id: UserId, email: &Email) -> Result<bool> {
    match txn.run(READDRESS, &[&id.uuid(), &email.as_str()]).await {
        Ok(changed) => Ok(changed == 1),
        Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(false),
        Err(error) => Err(error.into()),
    }
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

fn read(row: &Row) -> Result<User> {
    let kind = Kind::stored(row.try_get("kind")?)?;
    let email: Option<String> = Some(row.try_get("email")?);
    Ok(User {
        id: UserId::from_uuid(row.try_get("id")?),
        // A service account's address only keeps the column unique.
        email: email.filter(|_| kind == Kind::Person),
        name: row.try_get("name")?,
        role: row.try_get("role")?,
        kind,
        active: row.try_get("active")?,
        email_verified: row.try_get("verified")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        deleted_at: row.try_get("deleted_at")?,
        version: row.try_get("version")?,
    })
}

/// One page of the people who match.
pub(super) async fn page(statements: &impl Statements, query: &Query<'_>) -> Result<Vec<User>> {
    let sql = match query.sort {
        Sort::OldestFirst => OLDEST_FIRST,
        Sort::NewestFirst => NEWEST_FIRST,
        Sort::NameAscending => NAME_ASCENDING,
        Sort::NameDescending => NAME_DESCENDING,
        Sort::EmailAscending => EMAIL_ASCENDING,
        Sort::EmailDescending => EMAIL_DESCENDING,
    };
    let (q, role, kind, state) = query.filter.params();
    let (key, id) = (query.after.as_ref().map(|(key, _)| key.as_str()), query.after.as_ref().map(|(_, id)| *id));
    let params: [Param<'_>; 7] = [&q, &role, &kind, &state, &query.limit, &key, &id];
    statements.rows(sql, &params).await?.iter().map(read).collect()
}

/// How many people match.
pub(super) async fn total(statements: &impl Statements, query: &Query<'_>) -> Result<i64> {
    let (q, role, kind, state) = query.filter.params();
    let row = statements.row(TOTAL, &[&q, &role, &kind, &state]).await?;
    Ok(row.map(|row| row.try_get("total")).transpose()?.unwrap_or_default())
}

/// One of them, deleted or not.
pub(super) async fn get(statements: &impl Statements, id: UserId) -> Result<Option<User>> {
    statements.row(GET, &[&id.uuid()]).await?.map(|row| read(&row)).transpose()
}

/// How many people there are, of each state and of each role.
pub(super) async fn counts(statements: &impl Statements) -> Result<Counts> {
    let mut counts = Counts::default();
    if let Some(row) = statements.row(COUNTS, &[]).await? {
        counts.people = row.try_get("people")?;
        counts.active = row.try_get("active")?;
        counts.verified = row.try_get("verified")?;
        counts.deleted = row.try_get("deleted")?;
        counts.service_accounts = row.try_get("services")?;
    }
    for row in statements.rows(BY_ROLE, &[]).await? {
        counts.active_by_role.insert(row.try_get("role")?, row.try_get("people")?);
    }
    Ok(counts)
}

/// The user, whom nobody else changes until the transaction ends, and their role.
pub(in crate::identity) async fn lock(txn: &TenantTxn<'_>, id: UserId) -> Result<Option<Known>> {
    lock_row(txn, id).await?;
    known(txn, id).await
}

/// The user and their role.
pub(in crate::identity) async fn known(statements: &impl Statements, id: UserId) -> Result<Option<Known>> {
    let Some(row) = statements.row(KNOWN, &[&id.uuid()]).await? else { return Ok(None) };
    let role: Role = roles::read(&row)?;
    Ok(Some(Known { user: read(&row)?, role }))
}

/// The active person with this role who was there first.
pub(in crate::identity) async fn longest_with(statements: &impl Statements, role: &str) -> Result<Option<UserId>> {
    let row = statements.row(LONGEST_WITH, &[&role]).await?;
    let id: Option<Uuid> = row.map(|row| row.try_get("id")).transpose()?;
    Ok(id.map(UserId::from_uuid))
}

/// Stores the name, the role, and whether they are active.
pub(in crate::identity) async fn update(txn: &TenantTxn<'_>, user: &User) -> Result<Option<User>> {
    let params: [Param<'_>; 4] = [&user.id.uuid(), &user.name, &user.role, &user.active];
    txn.row(UPDATE, &params).await?.map(|row| read(&row)).transpose()
}

/// Marks the user as deleted.
pub(in crate::identity) async fn delete(txn: &TenantTxn<'_>, id: UserId) -> Result<bool> {
    Ok(txn.run(DELETE, &[&id.uuid()]).await? == 1)
}

/// Takes the deletion back.
pub(in crate::identity) async fn restore(txn: &TenantTxn<'_>, id: UserId) -> Result<Option<User>> {
    txn.row(RESTORE, &[&id.uuid()]).await?.map(|row| read(&row)).transpose()
}

/// Removes a deleted user with all that is theirs. False when rows of the product's still refer to them.
pub(in crate::identity) async fn erase(txn: &TenantTxn<'_>, id: UserId) -> Result<bool> {
    is_erased(txn.run(ERASE, &[&id.uuid()]).await)
}

/// Those who were deleted more than so many days ago, at most `limit`.
pub(in crate::identity) async fn due(statements: &impl Statements, days: i32, limit: i64) -> Result<Vec<UserId>> {
    let rows = statements.rows(DUE, &[&limit, &days]).await?;
    rows.iter().map(|row| Ok(UserId::from_uuid(row.try_get("id")?))).collect()
}

/// As [`erase`], if they were deleted more than so many days ago.
pub(in crate::identity) async fn erase_due(txn: &TenantTxn<'_>, id: UserId, days: i32) -> Result<bool> {
    is_erased(txn.run(ERASE_DUE, &[&id.uuid(), &days]).await)
}

fn is_erased(outcome: Result<u64, StatementError>) -> Result<bool> {
    match outcome {
        Ok(erased) => Ok(erased == 1),
        Err(error) if error.code() == Some(&SqlState::FOREIGN_KEY_VIOLATION) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether somebody else is an active owner.
pub(super) async fn has_other_owners(txn: &TenantTxn<'_>, id: UserId) -> Result<bool> {
    Ok(txn.row(HAS_OTHER_OWNERS, &[&id.uuid()]).await?.is_some())
}

/// Adds a service account.
pub(in crate::identity) async fn add_service(
    txn: &TenantTxn<'_>,
    id: UserId,
    name: &DisplayName,
    role: &str,
) -> Result<Option<User>> {
    let email = service_address(id);
    txn.row(ADD_SERVICE, &[&id.uuid(), &email, &name.as_str(), &role]).await?.map(|row| read(&row)).transpose()
}

/// Adds people, of whom no two have one address. Those are left out whose address somebody has.
pub(in crate::identity) async fn add_all(txn: &TenantTxn<'_>, new: &[New<'_>]) -> Result<()> {
    let (mut ids, mut emails, mut names) = (Vec::new(), Vec::new(), Vec::new());
    let (mut roles, mut active, mut verified) = (Vec::new(), Vec::new(), Vec::new());
    for one in new {
        ids.push(one.id.uuid());
        emails.push(one.email.as_str());
        names.push(one.name);
        roles.push(one.role);
        active.push(one.active);
        verified.push(one.verified);
    }
    let params: [Param<'_>; 6] = [&ids, &emails, &names, &roles, &active, &verified];
    txn.run(ADD_ALL, &params).await?;
    Ok(())
}

/// Who has one of these addresses, by the address.
pub(in crate::identity) async fn with_addresses(
    txn: &TenantTxn<'_>,
    emails: &[&str],
) -> Result<BTreeMap<String, UserId>> {
    let rows = txn.rows(WITH_ADDRESSES, &[&emails]).await?;
    rows.iter().map(|row| Ok((row.try_get("email")?, UserId::from_uuid(row.try_get("id")?)))).collect()
}

/// The active owner who has this address.
pub(super) async fn owner_by_email(statements: &impl Statements, email: &str) -> Result<Option<UserId>> {
    let row = statements.row(OWNER_BY_EMAIL, &[&email]).await?;
    let id: Option<Uuid> = row.map(|row| row.try_get("id")).transpose()?;
    Ok(id.map(UserId::from_uuid))
}

/// Whether the database of `session` has users other than the one with the email address `own`. For operations on a
/// database whose tenant is not open.
///
/// # Errors
/// PostgreSQL's.
pub async fn holds_others(session: &Client, own: Option<&Email>) -> Result<bool, tokio_postgres::Error> {
    session.query_one(HAS_OTHERS, &[&own.map(Email::as_str)]).await?.try_get("has_others")
}
