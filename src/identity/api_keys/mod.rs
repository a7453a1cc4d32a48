//! API keys: `fhk_<id>_<secret>_<checksum>`.
//!
//! The id finds the row, the secret is 256 random bits of which only a digest is stored, and the checksum makes a
//! mistyped or invented key cost no query. It also lets scanners of public code recognise a leaked one.

use std::{collections::BTreeSet, fmt::Write, net::IpAddr};

use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::{
    Actor, Identity, Inner, Permission, Principal,
    authenticate::{Verdict, plane},
    permissions, sessions, tokens,
};
use crate::{
    control::tenants::Tenant,
    error::{Error, Result},
    tenancy::Statements,
    types::{ApiKeyId, DisplayName, Email, TenantId, UserId},
};

/// What every API key begins with.
pub(super) const PREFIX: &str = "fhk_";
/// In hexadecimal digits: enough that a random text passes once in four billion.
const CHECKSUM_DIGITS: usize = 8;

/// A well-formed key.
struct Presented {
    id: ApiKeyId,
    secret: SecretString,
}

impl Identity {
    /// Makes an API key for a user, with at most the permissions in `scopes`. The key is shown this once.
    pub async fn create_api_key(
        &self,
        tenant: TenantId,
        user: UserId,
        name: &DisplayName,
        scopes: &[Permission],
    ) -> Result<SecretString> {
        let inner = &self.inner;
        let id = ApiKeyId::generate(&inner.clock, inner.random);
        let secret = SecretString::from(hex(&inner.random.bytes::<32>()));
        let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
        let sql = "INSERT INTO freehold.api_keys (id, name, secret_hash, user_id, scopes)
                   VALUES ($1, $2, $3, $4, $5)";
        let connection = inner.tenancy.connect(tenant).await?;
        let hash = sessions::token_hash(&secret);
        connection.run(sql, &[&id.uuid(), &name.as_str(), &hash, &user.uuid(), &scopes]).await?;
        Ok(compose(id, &secret))
    }

    /// The first operator's key, with every permission of an operator. `None` when the platform tenant has a key
    /// already.
    ///
    /// # Errors
    /// Internal when there is no user of that address.
    pub async fn create_first_api_key(&self, platform: TenantId, email: &Email) -> Result<Option<SecretString>> {
        let sql = "SELECT (SELECT id FROM freehold.users WHERE email = $1) AS id,
                          EXISTS (SELECT FROM freehold.api_keys) AS has_keys";
        let row = self.inner.tenancy.connect(platform).await?.row(sql, &[&email.as_str()]).await?;
        let missing = || Error::defect("the platform tenant has no such operator");
        let row = row.ok_or_else(missing)?;
        if row.get("has_keys") {
            return Ok(None);
        }
        let user = row.get::<_, Option<uuid::Uuid>>("id").map(UserId::from_uuid).ok_or_else(missing)?;
        let scopes: Vec<_> = Permission::platform().collect();
        let name = "bootstrap".parse().map_err(Error::internal)?;
        let key = self.create_api_key(platform, user, &name, &scopes).await?;
        Ok(Some(key))
    }
}

impl Inner {
    /// Who presents `key`. One query, which also notes the use, at most once a minute.
    pub(super) async fn verify_api_key(&self, tenant: &Tenant, key: &str, ip: IpAddr) -> Result<Verdict> {
        let presented = parse(key).ok_or_else(tokens::invalid)?;
        let sql = "WITH noted AS (
                       UPDATE freehold.api_keys SET last_used_at = now()
                       WHERE id = $1 AND secret_hash = $2
                         AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute'))
                   SELECT k.secret_hash, k.user_id, k.scopes, k.expires_at, u.role, r.permissions
                   FROM freehold.api_keys k
                   JOIN freehold.users u ON u.id = k.user_id JOIN freehold.roles r ON r.name = u.role
                   WHERE k.id = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
                     AND u.active AND (k.allowed_addresses IS NULL OR $3::inet <<= ANY (k.allowed_addresses))";
        let hash = sessions::token_hash(&presented.secret);
        let connection = self.tenancy.connect(tenant.id).await?;
        let found = connection.row(sql, &[&presented.id.uuid(), &hash, &ip.to_canonical()]).await?;
        let row = found.ok_or_else(tokens::invalid)?;
        if !bool::from(row.get::<_, &[u8]>("secret_hash").ct_eq(&hash)) {
            return Err(tokens::invalid());
        }
        let (role, scopes): (String, Vec<String>) = (row.get("role"), row.get("scopes"));
        let of_user = permissions::of_role(plane(tenant), &role, &row.get::<_, Vec<String>>("permissions"));
        let granted: BTreeSet<_> = of_user.intersection(&permissions::of_names(&scopes)).copied().collect();
        let actor = Actor::ApiKey { key: presented.id, user: UserId::from_uuid(row.get("user_id")) };
        let expires = row.get::<_, Option<DateTime<Utc>>>("expires_at").map_or(i64::MAX, |at| at.timestamp());
        Ok(Verdict::new(Principal::new(actor, tenant.id, role, granted), expires))
    }
}

fn compose(id: ApiKeyId, secret: &SecretString) -> SecretString {
    let body = format!("{PREFIX}{}_{}", id.uuid().simple(), secret.expose_secret());
    SecretString::from(format!("{body}_{}", checksum(&body)))
}

fn parse(key: &str) -> Option<Presented> {
    let (body, sum) = key.rsplit_once('_')?;
    let (id, secret) = body.strip_prefix(PREFIX)?.split_once('_')?;
    if checksum(body) != sum {
        return None;
    }
    let id = format!("{}_{id}", ApiKeyId::PREFIX).parse().ok()?;
    Some(Presented { id, secret: SecretString::from(secret) })
}

fn checksum(body: &str) -> String {
    let mut sum = hex(digest(&SHA256, body.as_bytes()).as_ref());
    sum.truncate(CHECKSUM_DIGITS);
    sum
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Clock, Random};

    #[test]
    fn a_key_survives_its_text_form_and_every_changed_character_is_noticed() {
        let id = ApiKeyId::generate(&Clock::default(), Random);
        let secret = SecretString::from(hex(&Random.bytes::<32>()));
        let key = compose(id, &secret).expose_secret().to_owned();
        let parsed = parse(&key).unwrap();
        assert_eq!((parsed.id, parsed.secret.expose_secret()), (id, secret.expose_secret()));
        assert_eq!(key.len(), PREFIX.len() + 32 + 1 + 64 + 1 + CHECKSUM_DIGITS);
        for index in 0..key.len() {
            let mut changed = key.clone().into_bytes();
            changed[index] = if changed[index] == b'0' { b'1' } else { b'0' };
            assert!(parse(&String::from_utf8(changed).unwrap()).is_none(), "character {index}");
        }
        for bad in ["", "fhk_", "fhk___", "fhk_a_b_c", &key[..key.len() - 1]] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
