//! All SQL on the table `credentials`, and the parts of other modules' statements that use it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::{
    error::Result,
    tenancy::{Param, Statements, TenantTxn},
    types::{CredentialId, UserId},
};

/// An SQL expression: the password hash of the user with the id `$user`, or NULL.
macro_rules! password_hash {
    ($user:literal) => {
        concat!(
            "(SELECT c.data ->> 'hash' FROM freehold.credentials c WHERE c.user_id = ",
            $user,
            " AND c.kind = 'password')"
        )
    };
}
pub(in crate::identity) use password_hash;

/// An SQL expression: whether the user with the id `$user` has a password.
macro_rules! has_password {
    ($user:literal) => {
        concat!("EXISTS (SELECT FROM freehold.credentials c WHERE c.user_id = ", $user, " AND c.kind = 'password')")
    };
}
pub(in crate::identity) use has_password;

/// An SQL expression: whether the user with the id `$user` has to choose another password before they are let in.
macro_rules! must_change {
    ($user:literal) => {
        concat!(
            "EXISTS (SELECT FROM freehold.credentials c WHERE c.user_id = ",
            $user,
            " AND c.kind = 'password' AND (c.data ->> 'must_change' = 'true' OR c.changed_at < ",
            $crate::identity::settings::time!("passwords_valid_from"),
            "))"
        )
    };
}
pub(in crate::identity) use must_change;

/// An SQL expression: whether the user with the id `$user` has set up a second factor.
macro_rules! has_factor {
    ($user:literal) => {
        concat!(
            "EXISTS (SELECT FROM freehold.credentials c WHERE c.user_id = ",
            $user,
            " AND c.kind = 'totp' AND c.handle = '')"
        )
    };
}
pub(in crate::identity) use has_factor;

/// An SQL expression: whether the user with the id `$user` has any way to prove who they are.
macro_rules! has_any {
    ($user:literal) => {
        concat!("EXISTS (SELECT FROM freehold.credentials c WHERE c.user_id = ", $user, ")")
    };
}
pub(in crate::identity) use has_any;

/// An SQL statement: adds a password to the users in `$people` who have none.
macro_rules! add_password {
    ($people:literal, id = $id:literal, hash = $hash:literal) => {
        concat!(
            "INSERT INTO freehold.credentials (id, user_id, kind, data)
             SELECT ",
            $id,
            "::uuid, id, 'password', jsonb_build_object('hash', ",
            $hash,
            "::text) FROM ",
            $people,
            " ON CONFLICT (user_id, kind, handle) DO NOTHING"
        )
    };
}
pub(in crate::identity) use add_password;

const INSERT_PASSWORD: &str = "INSERT INTO freehold.credentials (id, user_id, kind, data)
    VALUES ($1, $2, 'password', jsonb_build_object('hash', $3::text))";

const INSERT_PASSWORDS: &str = "INSERT INTO freehold.credentials (id, user_id, kind, data)
    SELECT id, person, 'password', jsonb_build_object('hash', hash)
    FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS new (id, person, hash)";

/// Keeps the last `$4` passwords before the new one, and forgets those before.
const REPLACE_PASSWORD: &str = "
    WITH kept AS (
        INSERT INTO freehold.credentials (id, user_id, kind, handle, data)
        SELECT $2::uuid, user_id, 'former_password', $2::uuid::text, jsonb_build_object('hash', data ->> 'hash')
        FROM freehold.credentials WHERE user_id = $1 AND kind = 'password' AND $4::bigint > 0
    ), forgotten AS (
        DELETE FROM freehold.credentials WHERE id IN (
            SELECT id FROM freehold.credentials WHERE user_id = $1 AND kind = 'former_password'
            ORDER BY created_at DESC, id DESC OFFSET greatest($4::bigint - 1, 0))
    )
    UPDATE freehold.credentials SET data = jsonb_build_object('hash', $3::text), changed_at = now()
    WHERE user_id = $1 AND kind = 'password'";

/// The password may not be chosen again where the tenant keeps former ones: it becomes one of them.
const RETIRE_PASSWORD: &str = "UPDATE freehold.credentials
    SET kind = 'former_password', handle = id::text, data = jsonb_build_object('hash', data ->> 'hash'), created_at = now()
    WHERE user_id = $1 AND kind = 'password'";

const REMOVE_ALL: &str = "DELETE FROM freehold.credentials WHERE user_id = $1";

const REHASH_PASSWORD: &str = "UPDATE freehold.credentials SET data = data || jsonb_build_object('hash', $3::text)
    WHERE user_id = $1 AND kind = 'password' AND data ->> 'hash' = $2";

const FORMER_PASSWORDS: &str = "SELECT data ->> 'hash' AS hash FROM freehold.credentials
    WHERE user_id = $1 AND kind = 'former_password' ORDER BY created_at DESC, id DESC LIMIT $2";

/// The hashes of the last `most` passwords that a user had before the present one.
pub(super) async fn former_passwords(statements: &impl Statements, user: UserId, most: u8) -> Result<Vec<String>> {
    let rows = statements.rows(FORMER_PASSWORDS, &[&user.uuid(), &i64::from(most)]).await?;
    rows.iter().map(|row| Ok(row.try_get("hash")?)).collect()
}

/// Replaces a user's password, and keeps so many former ones. Whether the user has a password.
pub(super) async fn replace_password(
    txn: &TenantTxn<'_>,
    (id, user): (CredentialId, UserId),
    hash: &str,
    kept: u8,
) -> Result<bool> {
    let params: [Param<'_>; 4] = [&user.uuid(), &id.uuid(), &hash, &i64::from(kept)];
    Ok(txn.run(REPLACE_PASSWORD, &params).await? == 1)
}

/// Makes a user's password a former one: nobody signs in with it any more.
pub(in crate::identity) async fn retire_password(txn: &TenantTxn<'_>, user: UserId) -> Result<()> {
    txn.run(RETIRE_PASSWORD, &[&user.uuid()]).await?;
    Ok(())
}

/// Removes all that a user proves with who they are.
pub(in crate::identity) async fn remove_all(txn: &TenantTxn<'_>, user: UserId) -> Result<()> {
    txn.run(REMOVE_ALL, &[&user.uuid()]).await?;
    Ok(())
}

/// Stores another hash of the same password, unless the password was changed.
pub(super) async fn rehash_password(txn: &TenantTxn<'_>, user: UserId, old: &str, new: &str) -> Result<()> {
    txn.run(REHASH_PASSWORD, &[&user.uuid(), &old, &new]).await?;
    Ok(())
}

const BEGIN_TOTP: &str = "
    INSERT INTO freehold.credentials (id, user_id, kind, handle, data)
    VALUES ($1, $2, 'totp', 'new', jsonb_build_object('seed', $3::text, 'last_step', 0))
    ON CONFLICT (user_id, kind, handle) DO UPDATE SET id = excluded.id, data = excluded.data, created_at = now(),
        changed_at = now()";

/// The old one goes by a statement of its own: both have the same handle.
const FORGET_TOTP: &str = "DELETE FROM freehold.credentials WHERE user_id = $1 AND kind = 'totp' AND handle = ''";

const ACTIVATE_TOTP: &str = "UPDATE freehold.credentials
    SET handle = '', data = data || jsonb_build_object('last_step', $2::bigint), changed_at = now()
    WHERE user_id = $1 AND kind = 'totp' AND handle = 'new'";

const SEED: &str = "SELECT id, data ->> 'seed' AS seed FROM freehold.credentials
    WHERE user_id = $1 AND kind = 'totp' AND handle = $2";

/// Of any number who show a code of one step, one does.
const USE_STEP: &str = "UPDATE freehold.credentials SET data = data || jsonb_build_object('last_step', $2::bigint)
    WHERE user_id = $1 AND kind = 'totp' AND handle = '' AND (data ->> 'last_step')::bigint < $2";

const SEEDS: &str = "SELECT id, data ->> 'seed' AS seed FROM freehold.credentials WHERE kind = 'totp'";

const REPLACE_SEED: &str = "UPDATE freehold.credentials SET data = data || jsonb_build_object('seed', $3::text)
    WHERE id = $1 AND data ->> 'seed' = $2";

/// A code that is used changes no time.
const HAS_FACTOR_SINCE: &str = "SELECT FROM freehold.credentials
    WHERE user_id = $1 AND kind = 'totp' AND handle = '' AND changed_at >= $2";

const FORGET_RECOVERY_CODES: &str = "DELETE FROM freehold.credentials WHERE user_id = $1 AND kind = 'recovery_code'";

const ADD_RECOVERY_CODES: &str = "
    INSERT INTO freehold.credentials (id, user_id, kind, handle, data)
    SELECT n.id, $1, 'recovery_code', n.number::text, jsonb_build_object('digest', n.digest)
    FROM unnest($2::uuid[], $3::text[]) WITH ORDINALITY AS n (id, digest, number)";

/// Of any number who show one code, one does.
const USE_RECOVERY_CODE: &str = "DELETE FROM freehold.credentials
    WHERE user_id = $1 AND kind = 'recovery_code' AND data ->> 'digest' = $2";

const REMOVE_FACTOR: &str = "DELETE FROM freehold.credentials
    WHERE user_id = $1 AND kind IN ('totp', 'recovery_code', 'trusted_device', 'known_device')";

/// Takes the same user's expired ones away too: nothing else does.
const TRUST_DEVICE: &str = "
    WITH expired AS (
        DELETE FROM freehold.credentials WHERE user_id = $2 AND kind = 'trusted_device'
            AND (data ->> 'expires_at')::timestamptz <= now()
    )
    INSERT INTO freehold.credentials (id, user_id, kind, handle, data)
    VALUES ($1, $2, 'trusted_device', $3, jsonb_build_object('expires_at', now() + make_interval(secs => $4)))";

const IS_TRUSTED: &str = "SELECT FROM freehold.credentials WHERE user_id = $1 AND handle = $2
    AND kind IN ('trusted_device', 'known_device') AND (data ->> 'expires_at')::timestamptz > now()
    AND (kind = 'trusted_device' OR (data ->> 'trusted_until')::timestamptz > now())";

/// An SQL expression: whether the user `$user` has a device that shows what has the digest `$digest`.
macro_rules! knows_device {
    ($user:literal, $digest:literal) => {
        concat!(
            "EXISTS (SELECT FROM freehold.credentials d WHERE d.user_id = ",
            $user,
            " AND d.kind IN ('trusted_device', 'known_device') AND d.handle = ",
            $digest,
            " AND (d.data ->> 'expires_at')::timestamptz > now())"
        )
    };
}
pub(in crate::identity) use knows_device;

/// One that is only trusted, from before devices were known, is left to end when it was to.
const IS_KNOWN: &str = "
    WITH prolonged AS (
        UPDATE freehold.credentials
        SET data = data || jsonb_build_object('expires_at', now() + make_interval(secs => $3)), changed_at = now()
        WHERE user_id = $1 AND kind = 'known_device' AND handle = $2 AND (data ->> 'expires_at')::timestamptz > now()
        RETURNING id
    )
    SELECT id FROM prolonged UNION ALL
    SELECT id FROM freehold.credentials WHERE user_id = $1 AND kind = 'trusted_device' AND handle = $2
        AND (data ->> 'expires_at')::timestamptz > now()";

const MAKE_ROOM_FOR_DEVICE: &str = "DELETE FROM freehold.credentials
    WHERE user_id = $1 AND kind = 'known_device' AND ((data ->> 'expires_at')::timestamptz <= now() OR id IN (
        SELECT id FROM freehold.credentials WHERE user_id = $1 AND kind = 'known_device'
        ORDER BY changed_at DESC, id DESC OFFSET greatest($2::bigint - 1, 0)))";

const KNOW_DEVICE: &str = "INSERT INTO freehold.credentials (id, user_id, kind, handle, data)
    VALUES ($1, $2, 'known_device', $3, jsonb_strip_nulls(jsonb_build_object(
        'expires_at', now() + make_interval(secs => $4), 'trusted_until', now() + make_interval(secs => $5))))";

const DEVICES: &str = "SELECT handle FROM freehold.credentials
    WHERE user_id = $1 AND kind IN ('trusted_device', 'known_device')";

const FORGET_DEVICE: &str = "DELETE FROM freehold.credentials
    WHERE user_id = $1 AND kind IN ('trusted_device', 'known_device') AND handle = $2";

const FORGET_DEVICES: &str =
    "DELETE FROM freehold.credentials WHERE user_id = $1 AND kind IN ('trusted_device', 'known_device')";

const FORGET_ALL_DEVICES: &str = "DELETE FROM freehold.credentials WHERE kind IN ('trusted_device', 'known_device')";

/// Stores a sealed seed that does not count yet.
pub(super) async fn begin_totp(txn: &TenantTxn<'_>, (id, user): (CredentialId, UserId), sealed: &str) -> Result<()> {
    txn.run(BEGIN_TOTP, &[&id.uuid(), &user.uuid(), &sealed]).await?;
    Ok(())
}

/// Makes the new seed the one that counts; codes up to `step` are used. Whether there was a new one.
pub(super) async fn activate_totp(txn: &TenantTxn<'_>, user: UserId, step: i64) -> Result<bool> {
    txn.run(FORGET_TOTP, &[&user.uuid()]).await?;
    Ok(txn.run(ACTIVATE_TOTP, &[&user.uuid(), &step]).await? == 1)
}

/// A user's sealed seed with this handle, and its id.
pub(super) async fn seed(
    statements: &impl Statements,
    user: UserId,
    handle: &str,
) -> Result<Option<(CredentialId, String)>> {
    statements.row(SEED, &[&user.uuid(), &handle]).await?.map(|row| read_seed(&row)).transpose()
}

/// All sealed seeds, with their ids.
pub(super) async fn seeds(statements: &impl Statements) -> Result<Vec<(CredentialId, String)>> {
    statements.rows(SEEDS, &[]).await?.iter().map(read_seed).collect()
}

fn read_seed(row: &Row) -> Result<(CredentialId, String)> {
    Ok((CredentialId::from_uuid(row.try_get("id")?), row.try_get("seed")?))
}

/// Stores the same seed under another seal.
pub(super) async fn replace_seed(
    statements: &impl Statements,
    id: CredentialId,
    (old, new): (&str, &str),
) -> Result<()> {
    statements.run(REPLACE_SEED, &[&id.uuid(), &old, &new]).await?;
    Ok(())
}

/// Uses a step up. False when it, or a later one, was used before.
pub(super) async fn use_step(txn: &TenantTxn<'_>, user: UserId, step: i64) -> Result<bool> {
    Ok(txn.run(USE_STEP, &[&user.uuid(), &step]).await? == 1)
}

/// Stores digests of recovery codes in place of all earlier ones.
pub(super) async fn replace_recovery_codes(
    txn: &TenantTxn<'_>,
    user: UserId,
    (ids, digests): (&[Uuid], &[String]),
) -> Result<()> {
    txn.run(FORGET_RECOVERY_CODES, &[&user.uuid()]).await?;
    txn.run(ADD_RECOVERY_CODES, &[&user.uuid(), &ids, &digests]).await?;
    Ok(())
}

/// Uses the recovery code with this digest up. Whether there was one.
pub(super) async fn use_recovery_code(txn: &TenantTxn<'_>, user: UserId, digest: &str) -> Result<bool> {
    Ok(txn.run(USE_RECOVERY_CODE, &[&user.uuid(), &digest]).await? == 1)
}

/// Stores the digest of what a trusted device shows.
pub(super) async fn trust_device(
    txn: &TenantTxn<'_>,
    (id, user): (CredentialId, UserId),
    digest: &str,
    lifetime: Duration,
) -> Result<()> {
    let params: [Param<'_>; 4] = [&id.uuid(), &user.uuid(), &digest, &lifetime.as_secs_f64()];
    txn.run(TRUST_DEVICE, &params).await?;
    Ok(())
}

/// Whether a user trusts the device that shows what has this digest.
pub(super) async fn is_trusted(txn: &TenantTxn<'_>, user: UserId, digest: &str) -> Result<bool> {
    Ok(txn.row(IS_TRUSTED, &[&user.uuid(), &digest]).await?.is_some())
}

/// Whether a user knows the device that shows what has this digest, which is known so long from now on.
pub(super) async fn is_known(txn: &TenantTxn<'_>, user: UserId, digest: &str, lifetime: Duration) -> Result<bool> {
    Ok(txn.row(IS_KNOWN, &[&user.uuid(), &digest, &lifetime.as_secs_f64()]).await?.is_some())
}

/// Forgets the devices of a user that have expired, and the oldest if there are `most`.
pub(super) async fn make_room_for_device(txn: &TenantTxn<'_>, user: UserId, most: i64) -> Result<()> {
    txn.run(MAKE_ROOM_FOR_DEVICE, &[&user.uuid(), &most]).await?;
    Ok(())
}

/// Stores the digest of what a device shows that is known so long, and perhaps trusted for some time.
pub(super) async fn know_device(
    txn: &TenantTxn<'_>,
    (id, user): (CredentialId, UserId),
    digest: &str,
    (known, trusted): (Duration, Option<Duration>),
) -> Result<()> {
    let (known, trusted) = (known.as_secs_f64(), trusted.map(|trusted| trusted.as_secs_f64()));
    let params: [Param<'_>; 5] = [&id.uuid(), &user.uuid(), &digest, &known, &trusted];
    txn.run(KNOW_DEVICE, &params).await?;
    Ok(())
}

/// The digests of what a user's devices show.
pub(super) async fn devices(txn: &TenantTxn<'_>, user: UserId) -> Result<Vec<String>> {
    let rows = txn.rows(DEVICES, &[&user.uuid()]).await?;
    rows.iter().map(|row| Ok(row.try_get("handle")?)).collect()
}

/// Forgets the device that shows what has this digest.
pub(super) async fn forget_device(txn: &TenantTxn<'_>, user: UserId, digest: &str) -> Result<()> {
    txn.run(FORGET_DEVICE, &[&user.uuid(), &digest]).await?;
    Ok(())
}

/// Forgets all devices of a user; how many there were.
pub(super) async fn forget_devices(txn: &TenantTxn<'_>, user: UserId) -> Result<u64> {
    Ok(txn.run(FORGET_DEVICES, &[&user.uuid()]).await?)
}

/// Forgets all devices of everybody.
pub(super) async fn forget_all_devices(statements: &impl Statements) -> Result<()> {
    statements.run(FORGET_ALL_DEVICES, &[]).await?;
    Ok(())
}

/// Deletes a user's second factor with all that belongs to it. Whether there were any.
pub(super) async fn remove_factor(txn: &TenantTxn<'_>, user: UserId) -> Result<bool> {
    Ok(txn.run(REMOVE_FACTOR, &[&user.uuid()]).await? > 0)
}

/// Whether a user has set their app up at that time or later.
pub(super) async fn has_factor_since(txn: &TenantTxn<'_>, user: UserId, since: DateTime<Utc>) -> Result<bool> {
    Ok(txn.row(HAS_FACTOR_SINCE, &[&user.uuid(), &since]).await?.is_some())
}

/// Adds passwords: of each user the hash, under this id.
pub(super) async fn insert_passwords(
    statements: &impl Statements,
    (ids, users): (&[Uuid], &[Uuid]),
    hashes: &[&str],
) -> Result<()> {
    statements.run(INSERT_PASSWORDS, &[&ids, &users, &hashes]).await?;
    Ok(())
}

/// Adds a password.
pub(super) async fn insert_password(
    statements: &impl Statements,
    id: CredentialId,
    user: UserId,
    hash: &str,
) -> Result<()> {
    statements.run(INSERT_PASSWORD, &[&id.uuid(), &user.uuid(), &hash]).await?;
    Ok(())
}

const PURGE_DEVICES: &str = "DELETE FROM freehold.credentials WHERE id IN (
    SELECT id FROM freehold.credentials
    WHERE kind IN ('trusted_device', 'known_device') AND (data ->> 'expires_at')::timestamptz <= now() LIMIT $1)";

/// Takes away devices whose time has passed; how many.
pub(in crate::identity) async fn purge_devices(statements: &impl Statements, limit: i64) -> Result<u64> {
    Ok(statements.run(PURGE_DEVICES, &[&limit]).await?)
}
