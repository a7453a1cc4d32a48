//! Keys of people and of service accounts: made, listed, rotated and revoked.
//!
//! Whose key it is never comes from a request's body. A person makes keys for themselves in a session of theirs; a
//! service account, which the path names, gets them from people who may look after those. A key grants nothing that
//! whoever makes it does not hold.

use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{draw, parse, store};
use crate::{
    error::{Error, FieldError, Result},
    identity::{
        Caller, Identity, Made, audit,
        links::{self, Notice},
        people::{self, Kind, Known},
        people_right::{ApiKeysRead, ApiKeysRevoke, ServiceAccountsWrite, SharedRight},
        roles::{self, plane, require_role_within, require_within},
        sessions,
        tokens::{self, token_hash},
    },
    mail::Words,
    tenancy::{TenantTxn, idempotency::once},
    types::{ApiKeyId, DisplayName, Idempotency, Network, Permission, UserId},
};

/// How many networks a key is restricted to at most.
const MOST_NETWORKS: usize = 100;

/// A key to be made.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    /// What it is for.
    #[schema(inline)]
    pub name: DisplayName,
    /// What it grants: some of what its maker may do. It never grants more than the role of its owner.
    pub scopes: Vec<String>,
    /// Until when it is valid. Unless it is there, until it is revoked.
    pub expires_at: Option<DateTime<Utc>>,
    /// The addresses and networks that it may be used from. Unless it is there, any.
    #[schema(example = json!(["192.0.2.7", "2001:db8::/32"]), min_items = 1, max_items = 100)]
    pub allowed_addresses: Option<Vec<String>>,
}

/// An API key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// What it is for.
    pub name: String,
    /// Whose it is.
    pub user_id: UserId,
    /// What it grants, as far as its owner's role does.
    pub scopes: Vec<String>,
    /// The networks that it may be used from; null: any.
    pub allowed_addresses: Option<Vec<String>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Until when it is valid; null: until it is revoked.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to within a minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// Which keys are listed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    /// Only those of this user.
    pub user: Option<UserId>,
    /// Only those that are valid, or only the others.
    pub valid: Option<bool>,
}

/// How a key is replaced.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// How long the key goes on beside its successor.
    pub overlap: Duration,
}

/// Makes a key for the caller, who is signed in.
///
/// # Errors
/// `session_required` for API keys; `exceeds_own_rights`; 422 on the fields.
pub async fn create_own(
    ctx: &Identity,
    caller: Caller<'_>,
    new: &NewApiKey,
    idempotency: Option<&Idempotency>,
) -> Result<Made> {
    create(ctx, caller, (caller.principal.user(), false), new, idempotency).await
}

/// Makes a key for a service account.
///
/// # Errors
/// As for [`create_own`]; `not_found` for whoever is no service account; `user_inactive` (409).
pub async fn create_for_service(
    ctx: &Identity,
    caller: Caller<'_>,
    account: UserId,
    new: &NewApiKey,
    idempotency: Option<&Idempotency>,
) -> Result<Made> {
    create(ctx, caller, (account, true), new, idempotency).await
}

async fn create(
    ctx: &Identity,
    caller: Caller<'_>,
    (owner, is_service): (UserId, bool),
    new: &NewApiKey,
    idempotency: Option<&Idempotency>,
) -> Result<Made> {
    caller.principal.session()?;
    let scopes = roles::permissions(ctx, caller.tenant, "scopes", &new.scopes)?;
    require_within(caller, &scopes)?;
    let bounds = bounds(ctx, new)?;
    let secret = draw(&ctx.clock, ctx.random);
    let drawn = parse(secret.expose_secret()).ok_or_else(|| Error::defect("a new API key is not one"))?;
    let notice = announce(ctx, caller, is_service).await?;
    let mut connection = ctx.tenancy.connect(caller.tenant.id).await?;
    let made = once(&mut connection, idempotency, drawn.id.uuid(), async |txn| {
        lock_owner_in_txn(ctx, txn, caller, (owner, is_service)).await?;
        let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
        let (id, secret_hash, name) = (drawn.id, token_hash(&drawn.secret), new.name.as_str());
        let row = store::New { id, name, secret_hash, user: owner, scopes: &scopes, bounds: &bounds };
        let key = store::add(txn, &row).await?;
        Notice::confirm_in_txn(notice.as_ref(), txn, owner).await?;
        record_in_txn(ctx, txn, caller, "api_key.created", &key).await?;
        Made::new(key.id.to_string(), None, &key)
    })
    .await?;
    Ok(made.with_secret(&drawn.id.to_string(), secret))
}

/// Tells somebody of a key of their own.
async fn announce(ctx: &Identity, caller: Caller<'_>, is_service: bool) -> Result<Option<Notice>> {
    if is_service {
        return Ok(None);
    }
    let account = people::account_of(&ctx.tenancy.connect(caller.tenant.id).await?, caller.principal.user()).await?;
    let account = account.ok_or_else(tokens::invalid)?;
    links::announce(ctx, caller.tenant, (&account.email, Words::ApiKeyCreated), caller.client).await
}

/// Locks whoever gets a key before any key is locked, as whoever deactivates them does: so nobody gets one who has been
/// deactivated meanwhile, or whose session has ended.
async fn lock_owner_in_txn(
    ctx: &Identity,
    txn: &TenantTxn<'_>,
    caller: Caller<'_>,
    (owner, is_service): (UserId, bool),
) -> Result<()> {
    if is_service {
        return service_in_txn(ctx, txn, caller, owner).await.map(drop);
    }
    let account = people::lock_account_in_txn(txn, owner).await?;
    account.filter(|account| account.is_active).ok_or_else(tokens::invalid)?;
    sessions::require_alive_in_txn(txn, caller.principal).await
}

/// The service account, whose role is within the caller's.
async fn service_in_txn(ctx: &Identity, txn: &TenantTxn<'_>, caller: Caller<'_>, account: UserId) -> Result<Known> {
    let known = people::lock(txn, account).await?.filter(|known| known.user.kind == Kind::Service);
    let known = known.ok_or_else(|| Error::not_found("service account"))?;
    if !known.user.active {
        return Err(Error::conflict("user_inactive", "this account is not active"));
    }
    require_role_within(ctx, caller, &known.role)?;
    Ok(known)
}

fn bounds(ctx: &Identity, new: &NewApiKey) -> Result<store::Bounds> {
    if new.expires_at.is_some_and(|at| at <= ctx.clock.now()) {
        return Err(FieldError::new("expires_at", "invalid_range", "must be in the future").into());
    }
    let Some(texts) = &new.allowed_addresses else {
        return Ok(store::Bounds { expires_at: new.expires_at, addresses: None });
    };
    if texts.is_empty() || texts.len() > MOST_NETWORKS {
        let message = "must have 1 to 100 entries; leave it out for any address";
        return Err(FieldError::new("allowed_addresses", "invalid_length", message).into());
    }
    let mut addresses = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        let message = "must be an address, or a network such as 192.0.2.0/24";
        let invalid = |_| FieldError::new(format!("allowed_addresses[{at}]"), "invalid_network", message);
        addresses.push(text.parse::<Network>().map_err(invalid)?.to_string());
    }
    Ok(store::Bounds { expires_at: new.expires_at, addresses: Some(addresses) })
}

async fn record_in_txn(
    ctx: &Identity,
    txn: &TenantTxn<'_>,
    caller: Caller<'_>,
    action: &'static str,
    key: &ApiKey,
) -> Result<()> {
    let details = json!({ "user": key.user_id, "scopes": key.scopes, "expires_at": key.expires_at });
    audit::record(ctx, txn, caller, (action, key.id.to_string()), details).await
}

fn may<R: SharedRight>(caller: Caller<'_>) -> bool {
    caller.principal.can(R::permission(plane(caller.tenant)))
}

/// Whether the caller may know of the key.
fn is_shown(caller: Caller<'_>, key: &ApiKey) -> bool {
    key.user_id == caller.principal.user() || may::<ApiKeysRead>(caller)
}

fn missing() -> Error {
    Error::not_found("API key")
}

/// One page of keys, the newest first: the caller's own, or everybody's for those who may see them.
///
/// # Errors
/// The tenant's database cannot be reached.
pub async fn list(
    ctx: &Identity,
    caller: Caller<'_>,
    filter: Filter,
    after: Option<ApiKeyId>,
    limit: i64,
) -> Result<Vec<ApiKey>> {
    let own = caller.principal.user();
    let user = if may::<ApiKeysRead>(caller) { filter.user } else { Some(own) };
    if filter.user.is_some_and(|asked| user != Some(asked)) {
        return Ok(Vec::new());
    }
    store::page(&ctx.tenancy.connect(caller.tenant.id).await?, &Filter { user, ..filter }, after, limit).await
}

/// One key.
///
/// # Errors
/// `not_found`, also for a key that the caller may not see.
pub async fn get(ctx: &Identity, caller: Caller<'_>, id: ApiKeyId) -> Result<ApiKey> {
    let key = store::get(&ctx.tenancy.connect(caller.tenant.id).await?, id).await?;
    key.filter(|key| is_shown(caller, key)).ok_or_else(missing)
}

/// Makes a key with another secret that grants the same, and lets this one end after the overlap.
///
/// # Errors
/// `session_required` for API keys; `not_found`; `api_key_ended` (409); `exceeds_own_rights`; `forbidden`.
pub async fn rotate(
    ctx: &Identity,
    caller: Caller<'_>,
    id: ApiKeyId,
    rotation: Rotation,
) -> Result<(ApiKey, SecretString)> {
    caller.principal.session()?;
    let secret = draw(&ctx.clock, ctx.random);
    let drawn = parse(secret.expose_secret()).ok_or_else(|| Error::defect("a new API key is not one"))?;
    let mut connection = ctx.tenancy.connect(caller.tenant.id).await?;
    let txn = connection.begin().await?;
    let key = store::get(&txn, id).await?.filter(|key| is_shown(caller, key)).ok_or_else(missing)?;
    let is_service = key.user_id != caller.principal.user();
    if is_service {
        caller.principal.require(ServiceAccountsWrite::permission(plane(caller.tenant)))?;
    }
    lock_owner_in_txn(ctx, &txn, caller, (key.user_id, is_service)).await?;
    let key = store::lock(&txn, id).await?.ok_or_else(missing)?;
    if key.revoked_at.is_some() || key.expires_at.is_some_and(|at| at <= ctx.clock.now()) {
        return Err(Error::conflict("api_key_ended", "this key is revoked or expired: make another one"));
    }
    require_within(caller, &known_scopes(ctx, caller, &key))?;
    let scopes: Vec<&str> = key.scopes.iter().map(String::as_str).collect();
    let bounds = store::Bounds { expires_at: key.expires_at, addresses: key.allowed_addresses.clone() };
    let (id, name, secret_hash, user) = (drawn.id, key.name.as_str(), token_hash(&drawn.secret), key.user_id);
    let successor = store::New { id, name, secret_hash, user, scopes: &scopes, bounds: &bounds };
    let successor = store::add(&txn, &successor).await?;
    store::end_soon(&txn, key.id, rotation.overlap.as_secs_f64()).await?;
    let details = json!({ "successor": successor.id, "overlap_seconds": rotation.overlap.as_secs() });
    audit::record(ctx, &txn, caller, ("api_key.rotated", key.id.to_string()), details).await?;
    txn.commit().await?;
    drop(connection);
    // A replica that has verified the key remembers for how long it was valid then.
    ctx.verdicts.forget(caller.tenant.id).await?;
    Ok((successor, secret))
}

/// The scopes that are permissions of this release: others grant nothing.
fn known_scopes(ctx: &Identity, caller: Caller<'_>, key: &ApiKey) -> Vec<Permission> {
    key.scopes.iter().filter_map(|name| ctx.permissions.named(plane(caller.tenant), name)).collect()
}

/// Revokes a key of the caller's own, or anybody's if they may. Does nothing to one that is revoked already.
///
/// # Errors
/// `not_found`; `forbidden`.
pub async fn revoke(ctx: &Identity, caller: Caller<'_>, id: ApiKeyId) -> Result<()> {
    let mut connection = ctx.tenancy.connect(caller.tenant.id).await?;
    let txn = connection.begin().await?;
    let key = store::lock(&txn, id).await?.filter(|key| is_shown(caller, key)).ok_or_else(missing)?;
    caller.principal.require_no_visit()?;
    if key.user_id != caller.principal.user() {
        caller.principal.require(ApiKeysRevoke::permission(plane(caller.tenant)))?;
    }
    if !store::revoke(&txn, id).await? {
        return Ok(());
    }
    record_in_txn(ctx, &txn, caller, "api_key.revoked", &key).await?;
    txn.commit().await?;
    drop(connection);
    ctx.verdicts.forget(caller.tenant.id).await
}
