//! The keys that sign and verify tenants' access tokens, kept in memory.
//!
//! A tenant's keys are read by tenant, never by what a token says. A token with a key that is not known makes
//! Freehold look again, once in a while; keys that were read long ago are read again likewise. While the control
//! database is away, the keys in memory go on serving: how long a tenant may be served then is the registry's to
//! decide.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, EncodingKey};
use moka::future::Cache;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::{Identity, tokens};
use crate::{
    control::{
        ControlDb,
        sealing::{DataKey, KeyRing},
        signing_keys::{self, VerifyingKey},
        tenants::Tenant,
    },
    error::{Error, Result},
    types::{Clock, KeyId, Random, TenantId},
};

/// Keys older than this are read again before they are used.
const MAX_AGE: Duration = Duration::from_mins(5);
/// Between two looks for the keys of one tenant.
const LOOK_PAUSE: Duration = Duration::from_secs(10);
/// How many tenants' keys one replica remembers, and for how long without use.
const CAPACITY: u64 = 10_000;
const IDLE: Duration = Duration::from_hours(1);

/// Every tenant's keys, as far as they were needed.
pub(super) struct Keys {
    db: ControlDb,
    ring: Arc<KeyRing>,
    held: Cache<TenantId, Arc<KeySet>>,
    looked: Cache<TenantId, ()>,
}

/// One tenant's keys.
pub(super) struct KeySet {
    signing: (KeyId, EncodingKey),
    verifying: Vec<(KeyId, DecodingKey)>,
    public: Value,
    read_at: Instant,
}

impl Keys {
    pub(super) fn new(db: ControlDb, ring: Arc<KeyRing>) -> Self {
        let held = Cache::builder().max_capacity(CAPACITY).time_to_idle(IDLE).build();
        let looked = Cache::builder().max_capacity(CAPACITY).time_to_live(LOOK_PAUSE).build();
        Self { db, ring, held, looked }
    }

    /// The tenant's keys.
    pub(super) async fn of(&self, tenant: TenantId) -> Result<Arc<KeySet>> {
        let held = self.held.try_get_with(tenant, self.read(tenant)).await.map_err(Error::shared)?;
        if held.read_at.elapsed() < MAX_AGE { Ok(held) } else { Ok(self.look_again(tenant, held).await) }
    }

    /// The tenant's keys, among which `kid` is looked for once more if it is not known.
    ///
    /// # Errors
    /// `invalid_token` when the tenant has no such key.
    pub(super) async fn with(&self, tenant: TenantId, kid: KeyId) -> Result<Arc<KeySet>> {
        let mut keys = self.of(tenant).await?;
        if keys.verifier(kid).is_none() {
            keys = self.look_again(tenant, keys).await;
        }
        keys.verifier(kid).is_some().then_some(keys).ok_or_else(tokens::invalid)
    }

    async fn look_again(&self, tenant: TenantId, held: Arc<KeySet>) -> Arc<KeySet> {
        if !self.looked.entry(tenant).or_insert(()).await.is_fresh() {
            return held;
        }
        match self.read(tenant).await {
            Ok(keys) => {
                self.held.insert(tenant, keys.clone()).await;
                keys
            }
            Err(error) => {
                tracing::warn!(tenant.id = %tenant, error = error.chain(), "signing keys could not be read again");
                held
            }
        }
    }

    async fn read(&self, tenant: TenantId) -> Result<Arc<KeySet>> {
        let mut connection = self.db.acquire().await?;
        let verifying = signing_keys::verifying(&mut connection, tenant).await?;
        let active = signing_keys::active(&mut connection, &self.ring, tenant).await?;
        Ok(Arc::new(KeySet {
            signing: (active.id, EncodingKey::from_ed_der(active.pkcs8.expose_secret())),
            public: json!({ "keys": verifying.iter().map(jwk).collect::<Vec<_>>() }),
            verifying: verifying.iter().map(|key| (key.id, DecodingKey::from_ed_der(&key.public_key))).collect(),
            read_at: Instant::now(),
        }))
    }
}

impl KeySet {
    /// The key that signs now.
    pub(super) fn signer(&self) -> (KeyId, &EncodingKey) {
        (self.signing.0, &self.signing.1)
    }

    /// The key of this name.
    pub(super) fn verifier(&self, kid: KeyId) -> Option<&DecodingKey> {
        self.verifying.iter().find(|(id, _)| *id == kid).map(|(_, key)| key)
    }
}

impl Identity {
    /// The tenant's public keys as a JSON Web Key Set (RFC 7517, RFC 8037).
    pub async fn jwks(&self, tenant: &Tenant) -> Result<Value> {
        Ok(self.inner.keys.of(tenant.id).await?.public.clone())
    }
}

fn jwk(key: &VerifyingKey) -> Value {
    json!({
        "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
        "kid": key.id, "x": BASE64_URL_SAFE_NO_PAD.encode(&key.public_key),
    })
}

/// Makes a tenant's signing key and stores it, sealed with the tenant's data key. Fails when it has one.
pub async fn provision_signing_key_in_txn(
    txn: &mut PgConnection,
    data_key: &DataKey,
    tenant: TenantId,
    clock: &Clock,
    random: Random,
) -> Result<()> {
    let failed = |_| Error::defect("a signing key could not be made");
    let pkcs8 = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map_err(failed)?;
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).map_err(|_| Error::defect("a new signing key is damaged"))?;
    let public = VerifyingKey { id: KeyId::generate(clock, random), public_key: pair.public_key().as_ref().to_vec() };
    signing_keys::insert_in_txn(txn, data_key, tenant, &public, pkcs8.as_ref()).await
}
