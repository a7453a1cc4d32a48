//! What requests to a tenant need of its secrets, still sealed: from the tables `data_keys`, `secrets` and
//! `signing_keys`, for many tenants at once.
//!
//! A replica keeps these in memory, so that it needs no control database to serve a tenant that it never served
//! before. What is kept is as worthless to a reader of memory dumps as the tables are; it is opened for one use.

use std::{collections::HashMap, time::Instant};

use secrecy::{SecretBox, SecretString};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    sealing::{DataKey, KeyRing, WrappedKey},
    secrets::{self, Purpose},
    signing_keys::{self, VERIFIES_FOR},
};
use crate::{
    error::Result,
    types::{KeyId, ServerId, TenantId},
};

/// A tenant's secrets as they were at one revision of its row. Small: a replica may keep a million of them.
#[derive(Debug)]
pub struct SealedTenant {
    /// The tenant.
    pub id: TenantId,
    /// The revision of its row, or of a moment later.
    pub revision: i64,
    /// Where it lives.
    pub server: ServerId,
    /// The keys that verify its tokens, or will; in the order in which they sign.
    pub signing_keys: Box<[SealedKey]>,
    /// When it was read, by this machine's clock that no one sets.
    pub read_at: Instant,
    data_key: WrappedKey,
    password: Box<[u8]>,
    next_password: Option<Box<[u8]>>,
}

/// A key that signs a tenant's tokens, or did, or will. Times are in seconds after the tenant was read, by the control
/// database's clock: replicas whose clocks differ agree on them.
#[derive(Debug)]
pub struct SealedKey {
    /// The `kid` of its tokens.
    pub id: KeyId,
    /// 32 bytes (RFC 8032).
    pub public_key: Box<[u8]>,
    /// From when on it signs.
    pub signs_from: f64,
    /// Until when it verifies; for ever, as long as nothing else is decided.
    pub verifies_until: Option<f64>,
    sealed: Box<[u8]>,
}

impl SealedTenant {
    /// The private part of one of its keys: PKCS#8 (RFC 8410).
    pub fn open_signing_key(&self, ring: &KeyRing, key: &SealedKey) -> Result<SecretBox<Vec<u8>>> {
        ring.unwrap(self.id.uuid(), &self.data_key)?.open(&signing_keys::purpose(key.id), &key.sealed)
    }

    /// The tenant's data key, opened: for what is sealed with it in the control database.
    pub fn data_key(&self, ring: &KeyRing) -> Result<DataKey> {
        ring.unwrap(self.id.uuid(), &self.data_key)
    }

    /// Seals what the tenant's own database keeps, for one purpose.
    pub fn seal(&self, ring: &KeyRing, purpose: &str, plaintext: &[u8]) -> Result<Vec<u8>> {
        ring.unwrap(self.id.uuid(), &self.data_key)?.seal(purpose, plaintext)
    }

    /// Opens what was sealed for the same tenant and purpose.
    pub fn open(&self, ring: &KeyRing, purpose: &str, sealed: &[u8]) -> Result<SecretBox<Vec<u8>>> {
        ring.unwrap(self.id.uuid(), &self.data_key)?.open(purpose, sealed)
    }

    /// The passwords of the tenant's role: the present one, and the next one while it is being replaced.
    pub fn passwords(&self, ring: &KeyRing) -> Result<Vec<SecretString>> {
        let key = ring.unwrap(self.id.uuid(), &self.data_key)?;
        let present = [(Purpose::TenantDatabasePassword, &self.password)];
        let next = self.next_password.iter().map(|sealed| (Purpose::NextTenantDatabasePassword, sealed));
        present.into_iter().chain(next).map(|(purpose, sealed)| secrets::open(&key, purpose, sealed)).collect()
    }
}

/// What there is of these tenants' secrets. Those whose secrets are destroyed are left out.
pub async fn read(connection: &mut PgConnection, tenants: &[TenantId]) -> Result<Vec<SealedTenant>> {
    let read_at = Instant::now();
    let ids: Vec<Uuid> = tenants.iter().map(|id| id.uuid()).collect();
    let rows = sqlx::query!(
        r#"SELECT t.id, t.revision, t.server_id, k.kek_id, k.wrapped, present.sealed AS password,
                  next.sealed AS "next_password?"
           FROM tenants t
           JOIN data_keys k ON k.owner_id = t.id
           JOIN secrets present ON present.owner_id = t.id AND present.purpose = 'tenant_database_password'
           LEFT JOIN secrets next ON next.owner_id = t.id AND next.purpose = 'next_tenant_database_password'
           WHERE t.id = ANY($1)"#,
        &ids
    )
    .fetch_all(&mut *connection)
    .await?;
    // Read later than the revision: what changed in between is read again when the revision is known.
    let mut keys = keys(connection, &ids).await?;
    let sealed = rows.into_iter().map(|row| SealedTenant {
        id: TenantId::from_uuid(row.id),
        revision: row.revision,
        server: ServerId::from_uuid(row.server_id),
        signing_keys: keys.remove(&row.id).unwrap_or_default().into(),
        read_at,
        data_key: WrappedKey { kek_id: row.kek_id, wrapped: row.wrapped },
        password: row.password.into(),
        next_password: row.next_password.map(Into::into),
    });
    Ok(sealed.collect())
}

async fn keys(connection: &mut PgConnection, tenants: &[Uuid]) -> Result<HashMap<Uuid, Vec<SealedKey>>> {
    let rows = sqlx::query!(
        r#"SELECT id, tenant_id, public_key, sealed,
                  extract(epoch FROM active_from - now())::float8 AS "signs_from!",
                  extract(epoch FROM retired_at - now())::float8 AS signs_until
           FROM signing_keys
           WHERE tenant_id = ANY($1) AND (retired_at IS NULL OR retired_at > now() - make_interval(secs => $2))
           ORDER BY active_from, id"#,
        tenants,
        VERIFIES_FOR.as_secs_f64()
    )
    .fetch_all(connection)
    .await?;
    let mut keys = HashMap::<_, Vec<_>>::new();
    for row in rows {
        keys.entry(row.tenant_id).or_default().push(SealedKey {
            id: KeyId::from_uuid(row.id),
            public_key: row.public_key.into(),
            signs_from: row.signs_from,
            verifies_until: row.signs_until.map(|until| until + VERIFIES_FOR.as_secs_f64()),
            sealed: row.sealed.into(),
        });
    }
    Ok(keys)
}
