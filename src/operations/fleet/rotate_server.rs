//! Another password for a server's administrative role.
//!
//! The next password is sealed first. Then the role is altered, and a connection under the next password is made. Only then
//! the next password becomes the present one. Whatever is killed in between leaves both sealed: whoever opens an
//! administrative session next finds out which one works, and records it (`Context::administer`).
//!
//! A lock on the server keeps two rotations apart. Whoever writes a password holds the lock, and has found out under it which
//! one works. A server that is registered twice with one role, for tenants and for the platform, gets the password twice.
//!
//! The control database's own role belongs to no server. Its password is in the configuration, and this never changes it.

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
/// Under which name the sessions of a rotation are on the server.
const PURPOSE: &str = "rotate-credentials";
/// How long another rotation is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Gives the role a password that nobody knows but Freehold.
///
/// # Errors
/// `not_found`; `role_shared_with_control` (409); `credentials_locked` while another rotation is at work.
pub async fn rotate(ctx: &Context, id: ServerId, origin: &Origin) -> Result<Server> {
    let server = find(ctx, id).await?;
    if servers::is_controls_own(&mut *ctx.db.acquire().await?, id).await? {
        let detail = "the role is the control database's own too: replace its password by hand, then give it here";
        return Err(Error::conflict("role_shared_with_control", detail));
    }
    let (_, admin) = ctx.administer(&server, PURPOSE).await?;
    // Held until the session ends, at the end of this.
    lock(&admin).await?;
    // Read and tried under the lock: what was read before may have been replaced, and a next password that already
    // works must have become the present one before another takes its place.
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
        // A server that is away says nothing about the password: the next session finds out.
        if !error.is_transient() {
            restore(ctx, id, &admin, &access).await?;
        }
        return Err(error);
    }
    if promote(ctx, id, &next.password, origin).await? {
        return Ok(server);
    }
    // A replica that had lost its lock without knowing it has sealed another one since: what the role has by now is
    // kept nowhere but here.
    restore(ctx, id, &admin, &access).await?;
    Err(locked())
}

/// The present password is the role's again, and nothing is to take its place.
async fn restore(ctx: &Context, id: ServerId, admin: &ServerAdmin, access: &Access) -> Result<()> {
    admin.set_own_password(&access.credentials.password).await?;
    let mut txn = ctx.db.begin().await?;
    for server in servers::sharing_role(&mut txn, id).await? {
        secrets::delete(&mut txn, server.uuid(), NEXT).await?;
    }
    Ok(txn.commit().await?)
}

/// Takes over a password that was replaced by somebody else.
///
/// # Errors
/// `not_found`; `login_refused` on `password`; `credentials_locked` while a rotation is at work; `database_missing`;
/// the server is away.
pub async fn take_over(ctx: &Context, id: ServerId, password: SecretString, origin: &Origin) -> Result<Server> {
    let server = find(ctx, id).await?;
    let access = ctx.access(&mut *ctx.db.acquire().await?, &server).await?;
    let given = Credentials { role: server.admin_role.clone(), password };
    let admin = try_out(ctx, &access, &given).await.map_err(refused)?;
    lock(&admin).await?;
    // Once more under the lock: the role may have got another password meanwhile.
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

/// False, and nothing is changed, when another next password is kept than this one.
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
