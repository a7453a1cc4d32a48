//! Gives a server's administrative role a new password.
//!
//! The next password is stored first. Then the role is altered, and a connection with the next password is tried. Only
//! then the next password becomes the present one. After a crash in between, both are stored: the next administrative
//! session finds out which one is valid, and records it (`Context::administer`).
//!
//! An advisory lock on the server prevents concurrent rotations. A rotation takes the lock, and then finds out which
//! password is valid, before it writes one. A server may be registered twice with the same role, for tenants and for
//! the platform. Then the password is stored for both registrations.
//!
//! The role of the control database belongs to no server. Its password is in the configuration, and is never changed
//! here.

use std::time::Duration;

use secrecy::SecretString;

use crate::{
    control::{
        audit::{self, Origin},
        data_keys,
        secrets::{self, Purpose},
        servers::{self, Server},
    },
    error::{Error, FieldError, Result},
    faults::crash_point,
    operations::{Context, context::Access},
    servers::{Credentials, LockKey, ServerAdmin},
    types::{AuditEventId, ServerId, TenantId},
};

const PRESENT: Purpose = Purpose::ServerAdminPassword;
const NEXT: Purpose = Purpose::NextServerAdminPassword;
/// The purpose in the `application_name` of a rotation's sessions.
const PURPOSE: &str = "rotate-credentials";
/// How long to wait for another rotation.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Gives the role a new random password, which only Freehold knows.
///
/// # Errors
/// `not_found`; `role_shared_with_control` (409); `credentials_locked` while another rotation is running.
pub async fn rotate(ctx: &Context, id: ServerId, origin: &Origin) -> Result<Server> {
    let server = find(ctx, id).await?;
    if servers::is_controls_own(&mut *ctx.db.acquire().await?, id).await? {
        let detail = "the role is the control database's own too: replace its password by hand, then give it here";
        return Err(Error::conflict("role_shared_with_control", detail));
    }
    let (_, admin) = ctx.administer(&server, PURPOSE).await?;
    // The lock is held until the session ends, at the end of this function.
    lock(&admin).await?;
    // Reads and tries the passwords again under the lock. The one that was read before may have been replaced. And a
    // next password that is already valid must become the present one before another next password is stored.
    let (access, _) = ctx.administer(&server, PURPOSE).await?;
    // Crash points are told apart by tenants; the server's id stands in for one.
    let point = TenantId::from_uuid(id.uuid());
    let password = SecretString::from(ctx.random.token());
    seal(ctx, id, &password).await?;
    crash_point!("server.rotate_credentials.after_seal", point);
    admin.set_own_password(&password).await?;
    crash_point!("server.rotate_credentials.after_alter", point);
    let next = Credentials { role: access.credentials.role.clone(), password };
    if let Err(error) = try_out(ctx, &access, &next).await {
        // An unavailable server does not show whether the password is valid: the next session finds out.
        if !error.is_transient() {
            restore(ctx, id, &admin, &access).await?;
        }
        return Err(error);
    }
    if promote(ctx, id, &next.password, origin).await? {
        return Ok(server);
    }
    // Another replica had lost its lock without notice, and has stored another next password since. The role's new
    // password is not stored anywhere, so the old one is set again.
    restore(ctx, id, &admin, &access).await?;
    Err(locked())
}

/// Sets the present password on the role again, and deletes the next one.
async fn restore(ctx: &Context, id: ServerId, admin: &ServerAdmin, access: &Access) -> Result<()> {
    admin.set_own_password(&access.credentials.password).await?;
    let mut txn = ctx.db.begin().await?;
    for server in servers::sharing_role(&mut txn, id).await? {
        secrets::delete(&mut txn, server.uuid(), NEXT).await?;
    }
    Ok(txn.commit().await?)
}

/// Stores a password that somebody has changed outside of Freehold, once it has been tried.
///
/// # Errors
/// `not_found`; `login_refused` on `password`; `credentials_locked` while a rotation is running; `database_missing`;
/// the server is unavailable.
pub async fn take_over(ctx: &Context, id: ServerId, password: SecretString, origin: &Origin) -> Result<Server> {
    let server = find(ctx, id).await?;
    let access = ctx.access(&mut *ctx.db.acquire().await?, &server).await?;
    let given = Credentials { role: server.admin_role.clone(), password };
    let admin = try_out(ctx, &access, &given).await.map_err(refused)?;
    lock(&admin).await?;
    // Tried again under the lock: a rotation may have changed the password in the meantime.
    try_out(ctx, &access, &given).await.map_err(refused)?;
    let mut txn = ctx.db.begin().await?;
    for server in servers::sharing_role(&mut txn, id).await? {
        let key = data_keys::get(&mut txn, &ctx.keys, server.uuid()).await?;
        secrets::put(&mut txn, &key, server.uuid(), PRESENT, &given.password).await?;
        secrets::delete(&mut txn, server.uuid(), NEXT).await?;
    }
    record(ctx, &mut txn, id, origin, "given").await?;
    txn.commit().await?;
    Ok(server)
}

fn refused(error: Error) -> Error {
    match error {
        Error::Internal(_) => FieldError::new("password", "login_refused", "the server refuses this password").into(),
        other => other,
    }
}

async fn lock(admin: &ServerAdmin) -> Result<()> {
    if admin.lock(&LockKey::Credentials, LOCK_WAIT).await? {
        return Ok(());
    }
    Err(locked())
}

fn locked() -> Error {
    Error::unavailable("credentials_locked", "another rotation on this server is at work", None)
}

async fn find(ctx: &Context, id: ServerId) -> Result<Server> {
    let found = servers::get(&mut *ctx.db.acquire().await?, id).await?;
    found.ok_or_else(|| Error::not_found("server"))
}

async fn try_out(ctx: &Context, access: &Access, credentials: &Credentials) -> Result<ServerAdmin> {
    let name = ctx.session_name(PURPOSE);
    let (connector, database) = (&ctx.connector, &access.maintenance_db);
    ServerAdmin::connect(connector, &access.address, database, credentials, &name).await
}

async fn seal(ctx: &Context, id: ServerId, password: &SecretString) -> Result<()> {
    let mut txn = ctx.db.begin().await?;
    for server in servers::sharing_role(&mut txn, id).await? {
        let key = data_keys::get(&mut txn, &ctx.keys, server.uuid()).await?;
        secrets::put(&mut txn, &key, server.uuid(), NEXT, password).await?;
    }
    Ok(txn.commit().await?)
}

/// Makes the next password the present one. Returns false, and changes nothing, if another next password is stored.
async fn promote(ctx: &Context, id: ServerId, password: &SecretString, origin: &Origin) -> Result<bool> {
    let mut txn = ctx.db.begin().await?;
    for server in servers::sharing_role(&mut txn, id).await? {
        if !secrets::promote_in_txn(&mut txn, &ctx.keys, server.uuid(), (NEXT, PRESENT), password).await? {
            tracing::warn!(server.id = %server, "another password than the one just made is kept: it is taken back");
            return Ok(false);
        }
    }
    record(ctx, &mut txn, id, origin, "made").await?;
    txn.commit().await?;
    Ok(true)
}

async fn record(
    ctx: &Context,
    txn: &mut sqlx::PgConnection,
    id: ServerId,
    origin: &Origin,
    password: &str,
) -> Result<()> {
    let event = AuditEventId::generate(&ctx.clock, ctx.random);
    let action = ("server.rotate_credentials", &*id.to_string());
    audit::record_in_txn(txn, event, origin, action, &serde_json::json!({ "password": password })).await
}
