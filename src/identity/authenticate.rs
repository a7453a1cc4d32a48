//! From a bearer token to a [`Principal`].
//!
//! What was verified is remembered under the digest of tenant, epoch and token, for at most thirty seconds: a risen
//! epoch is another key, so nothing has to be found and removed. Only digests are kept. What is not remembered is
//! verified first and then looked up in the tenant's database: the session or key must be alive, the user active,
//! and the role is the one that the user has now.

use std::{net::IpAddr, sync::Arc, time::Duration};

use aws_lc_rs::digest::{Context, SHA256};
use moka::future::Cache;

use super::{
    Actor, Identity, Inner, Principal, api_keys,
    permissions::{self, Plane},
    tokens,
};
use crate::{
    control::tenants::Tenant,
    error::{Error, Result},
    tenancy::Statements,
    types::TenantId,
};

/// How long a verdict is remembered, whatever else happens.
const REMEMBERED: Duration = Duration::from_secs(30);
/// How many verdicts one replica remembers.
const CAPACITY: u64 = 100_000;
/// For how many tenants a replica remembers the epoch that it raised itself.
const RAISED_CAPACITY: u64 = 10_000;
/// In bytes: longer ones are none of ours.
const MAX_TOKEN: usize = 4_096;

const SESSION: &str = "SELECT u.role, r.permissions
    FROM freehold.sessions s JOIN freehold.users u ON u.id = s.user_id JOIN freehold.roles r ON r.name = u.role
    WHERE s.id = $1 AND s.user_id = $2 AND s.revoked_at IS NULL AND s.expires_at > now() AND u.active";

/// What this replica has verified lately.
pub(super) struct Verified {
    verdicts: Cache<[u8; 32], Verdict>,
    raised: moka::sync::Cache<TenantId, i64>,
}

/// Who a token belongs to, and until when (seconds since the Unix epoch).
#[derive(Clone)]
pub(super) struct Verdict {
    principal: Arc<Principal>,
    expires: i64,
}

impl Verdict {
    pub(super) fn new(principal: Principal, expires: i64) -> Self {
        Self { principal: Arc::new(principal), expires }
    }
}

impl Verified {
    pub(super) fn new() -> Self {
        let verdicts = Cache::builder().max_capacity(CAPACITY).time_to_live(REMEMBERED).build();
        Self { verdicts, raised: moka::sync::Cache::new(RAISED_CAPACITY) }
    }

    /// Forgets what was verified for the tenant under earlier epochs, before the registry has heard of the new one.
    pub(super) fn raise(&self, tenant: TenantId, epoch: i64) {
        self.raised.entry(tenant).and_upsert_with(|held| held.map_or(epoch, |held| held.into_value().max(epoch)));
    }

    /// An API key may be bound to addresses, so the verdict about one holds for one address.
    fn key(&self, tenant: &Tenant, bearer: &str, ip: IpAddr) -> [u8; 32] {
        let epoch = self.raised.get(&tenant.id).map_or(tenant.epoch, |raised| raised.max(tenant.epoch));
        let mut context = Context::new(&SHA256);
        context.update(tenant.id.uuid().as_bytes());
        context.update(&epoch.to_be_bytes());
        if bearer.starts_with(api_keys::PREFIX) {
            context.update(ip.to_canonical().to_string().as_bytes());
            context.update(b"\0");
        }
        context.update(bearer.as_bytes());
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        key
    }
}

impl Identity {
    /// Who presents `bearer`, an access token or an API key.
    ///
    /// # Errors
    /// `tenant_mismatch` (403) for a token that says it is another tenant's; `invalid_token` for everything else
    /// that does not prove anything.
    pub async fn authenticate(&self, tenant: &Tenant, bearer: &str, ip: IpAddr) -> Result<Arc<Principal>> {
        if bearer.len() > MAX_TOKEN {
            return Err(tokens::invalid());
        }
        let inner = &self.inner;
        let key = inner.verified.key(tenant, bearer, ip);
        let verdict = if let Some(verdict) = inner.verified.verdicts.get(&key).await {
            verdict
        } else {
            // Boxed: rare, and large. Requests with the same token wait for one look-up.
            let verify = Box::pin(inner.verify(tenant, bearer, ip));
            Box::pin(inner.verified.verdicts.try_get_with(key, verify)).await.map_err(Error::shared)?
        };
        if verdict.expires <= inner.clock.unix_seconds() {
            return Err(tokens::invalid());
        }
        Ok(verdict.principal)
    }
}

impl Inner {
    async fn verify(&self, tenant: &Tenant, bearer: &str, ip: IpAddr) -> Result<Verdict> {
        if bearer.starts_with(api_keys::PREFIX) {
            return self.verify_api_key(tenant, bearer, ip).await;
        }
        if tokens::claimed_tenant(bearer).is_some_and(|claimed| claimed != tenant.id) {
            metrics::counter!("freehold_tenant_mismatch_total").increment(1);
            let detail = "the token belongs to another tenant".to_owned();
            return Err(Error::Forbidden { code: "tenant_mismatch", detail });
        }
        self.verify_access_token(tenant, bearer).await
    }

    async fn verify_access_token(&self, tenant: &Tenant, token: &str) -> Result<Verdict> {
        let kid = tokens::key_id(token)?;
        let keys = self.keys.with(tenant, kid).await?;
        let key = keys.verifier(kid).ok_or_else(tokens::invalid)?;
        let claims = tokens::verify(token, key, tenant.id, &self.issuers(tenant), self.clock.unix_seconds())?;
        let connection = self.tenancy.connect(tenant.id).await?;
        let found = connection.row(SESSION, &[&claims.sid.uuid(), &claims.sub.uuid()]).await?;
        let row = found.ok_or_else(tokens::invalid)?;
        let role: String = row.get("role");
        let granted = permissions::of_role(plane(tenant), &role, &row.get::<_, Vec<String>>("permissions"));
        let actor = Actor::User { user: claims.sub, session: claims.sid };
        Ok(Verdict::new(Principal::new(actor, tenant.id, role, granted), claims.exp))
    }
}

/// On which plane a tenant's users act.
pub(super) fn plane(tenant: &Tenant) -> Plane {
    if tenant.is_platform { Plane::Platform } else { Plane::Tenant }
}
