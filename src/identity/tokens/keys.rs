//! The keys that sign and verify tenants' access tokens, opened and kept in memory.
//!
//! They follow the revision of the tenant's row: whoever serves a newer one than the keys are of has them read again,
//! from what [`Tenancy`] keeps sealed. A new key is published five seconds before it signs, so every replica has it by
//! then. A token with a key that is not known all the same makes Freehold look again: one tenant's keys at most four
//! times a second, and a token that comes in between waits for the next look, so that nobody who sends invented keys
//! keeps a good token out. While the control database is away, the keys in memory go on serving: how long a tenant may
//! be served then is the registry's to decide.

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
use tokio::sync::{Mutex, Semaphore};

use super::access;
use crate::{
    control::{
        sealed::{SealedKey, SealedTenant},
        sealing::KeyRing,
        signing_keys::{NewSigningKey, VerifyingKey},
        tenants::Tenant,
    },
    error::{Error, Result},
    tenancy::Tenancy,
    types::{KeyId, TenantId},
};

/// Between two looks for an unknown key of one tenant, and how many tenants are looked at at once.
const LOOK_PAUSE: Duration = Duration::from_millis(250);
const LOOKS: usize = 4;
/// How long a token with an unknown key waits for its turn.
const LOOK_WAIT: Duration = Duration::from_secs(2);
/// How many tenants' keys one replica keeps opened, and for how long without use.
const CAPACITY: u64 = 10_000;
const IDLE: Duration = Duration::from_hours(1);

/// Every tenant's keys, as far as they were needed.
pub(super) struct Keys {
    tenancy: Tenancy,
    ring: Arc<KeyRing>,
    held: Cache<TenantId, Arc<KeySet>>,
    /// When each tenant's unknown keys were looked for last, and what was found.
    looks: Cache<TenantId, Arc<Mutex<Option<Look>>>>,
    turns: Semaphore,
}

struct Look {
    began: Instant,
    found: Arc<KeySet>,
}

/// One tenant's keys.
pub(super) struct KeySet {
    /// In the order in which they sign.
    keys: Vec<Key>,
    revision: i64,
    read_at: Instant,
}

struct Key {
    id: KeyId,
    verifies: DecodingKey,
    /// None for one that is known never to sign again.
    signs: Option<EncodingKey>,
    public: Value,
    /// In seconds after the keys were read.
    signs_from: f64,
    verifies_until: Option<f64>,
}

impl Keys {
    pub(super) fn new(tenancy: Tenancy, ring: Arc<KeyRing>) -> Self {
        let held = Cache::builder().max_capacity(CAPACITY).time_to_idle(IDLE).build();
        let looks = Cache::builder().max_capacity(CAPACITY).time_to_idle(LOOK_WAIT * 2).build();
        Self { tenancy, ring, held, looks, turns: Semaphore::new(LOOKS) }
    }

    /// The tenant's keys.
    pub(super) async fn of(&self, tenant: &Tenant) -> Result<Arc<KeySet>> {
        if let Some(held) = self.held.get(&tenant.id).await.filter(|held| held.revision >= tenant.revision) {
            return Ok(held);
        }
        let sealed = self.tenancy.sealed(tenant.id, tenant.revision).await?;
        self.hold(&sealed).await
    }

    /// The tenant's keys, `kid` among them.
    ///
    /// # Errors
    /// `invalid_token` when the tenant has no such key; `control_database_unavailable` when that cannot be known.
    pub(super) async fn with(&self, tenant: &Tenant, kid: KeyId) -> Result<Arc<KeySet>> {
        let keys = self.of(tenant).await?;
        if keys.verifier(kid).is_some() {
            return Ok(keys);
        }
        let detail = "signing keys cannot be looked up at the moment; try again shortly";
        let late = |_| Err(Error::unavailable("control_database_unavailable", detail, None));
        let looked = Box::pin(tokio::time::timeout(LOOK_WAIT, self.look(tenant.id))).await.unwrap_or_else(late)?;
        looked.verifier(kid).is_some().then_some(looked).ok_or_else(access::invalid)
    }

    /// Has the tenant's keys read now, so that this replica goes by them before it is told of a change.
    pub(super) async fn renew(&self, tenant: TenantId) -> Result<()> {
        let sealed = self.tenancy.sealed_anew(tenant).await?;
        self.hold(&sealed).await.map(drop)
    }

    /// What a look finds that begins after this call.
    async fn look(&self, tenant: TenantId) -> Result<Arc<KeySet>> {
        let asked = Instant::now();
        let last = self.looks.get_with(tenant, async { Arc::default() }).await;
        let mut last = last.lock().await;
        if let Some(look) = &*last {
            if look.began >= asked {
                return Ok(look.found.clone());
            }
            tokio::time::sleep(LOOK_PAUSE.saturating_sub(look.began.elapsed())).await;
        }
        let _turn = self.turns.acquire().await.map_err(Error::internal)?;
        let began = Instant::now();
        let found = self.hold(&*self.tenancy.sealed_anew(tenant).await?).await?;
        *last = Some(Look { began, found: found.clone() });
        Ok(found)
    }

    async fn hold(&self, sealed: &SealedTenant) -> Result<Arc<KeySet>> {
        let keys = Arc::new(KeySet::open(sealed, &self.ring)?);
        self.held.insert(sealed.id, keys.clone()).await;
        Ok(keys)
    }
}

impl KeySet {
    fn open(sealed: &SealedTenant, ring: &KeyRing) -> Result<Self> {
        let age = sealed.read_at.elapsed().as_secs_f64();
        // Of those that have begun to sign only the last one does.
        let signs = sealed.signing_keys.iter().rposition(|key| key.signs_from <= age).unwrap_or_default();
        let open = |(index, key): (usize, &SealedKey)| {
            let private = (index >= signs).then(|| sealed.open_signing_key(ring, key)).transpose()?;
            Ok(Key {
                id: key.id,
                verifies: DecodingKey::from_ed_der(&key.public_key),
                signs: private.map(|pkcs8| EncodingKey::from_ed_der(pkcs8.expose_secret())),
                public: jwk(key),
                signs_from: key.signs_from,
                verifies_until: key.verifies_until,
            })
        };
        let keys = sealed.signing_keys.iter().enumerate().map(open).collect::<Result<_>>()?;
        Ok(Self { keys, revision: sealed.revision, read_at: sealed.read_at })
    }

    /// The key that signs now: the last that has begun to.
    ///
    /// # Errors
    /// Internal when the tenant has none.
    pub(super) fn signer(&self) -> Result<(KeyId, &EncodingKey)> {
        let age = self.age();
        let mut able = self.keys.iter().filter_map(|key| key.signs.as_ref().map(|signs| (key, signs)));
        let signer = able.clone().rfind(|(key, _)| key.signs_from <= age).or_else(|| able.next());
        let (key, signs) = signer.ok_or_else(|| Error::defect("a tenant has no signing key"))?;
        Ok((key.id, signs))
    }

    /// The key of this name, if it verifies.
    pub(super) fn verifier(&self, kid: KeyId) -> Option<&DecodingKey> {
        self.verifying().find(|key| key.id == kid).map(|key| &key.verifies)
    }

    /// The public keys as a JSON Web Key Set: all that verify, or will.
    pub(super) fn public(&self) -> Value {
        json!({ "keys": self.verifying().map(|key| &key.public).collect::<Vec<_>>() })
    }

    fn verifying(&self) -> impl Iterator<Item = &Key> {
        let age = self.age();
        self.keys.iter().filter(move |key| key.verifies_until.is_none_or(|until| age < until))
    }

    fn age(&self) -> f64 {
        self.read_at.elapsed().as_secs_f64()
    }
}

fn jwk(key: &SealedKey) -> Value {
    json!({
        "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
        "kid": key.id, "x": BASE64_URL_SAFE_NO_PAD.encode(&key.public_key),
    })
}

/// A new key for signing access tokens.
pub fn make_signing_key(id: KeyId) -> Result<NewSigningKey> {
    let failed = |_| Error::defect("a signing key could not be made");
    let pkcs8 = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map_err(failed)?;
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).map_err(|_| Error::defect("a new signing key is damaged"))?;
    Ok(NewSigningKey { public: VerifyingKey { id, public_key: pair.public_key().as_ref().to_vec() }, pkcs8 })
}
