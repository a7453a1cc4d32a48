//! API keys for programs that act on behalf of a user: `fhk_<id>_<secret>_<checksum>`.
//!
//! The id identifies the row. The secret is 256 random bits, of which only a digest is stored. The checksum rejects a
//! mistyped or invented key without a query. It also lets scanners of public code recognize a leaked key.
//!
//! A key is shown once, when it is created. It is valid until it is revoked, it expires, or its owner is deactivated.
//! It grants the permissions in its scopes that its owner has now. It has no session, so it cannot do what needs a
//! signed-in user. A clone of the tenant has none of its keys.

mod store;

use std::{fmt::Write, net::IpAddr};

use aws_lc_rs::digest::{SHA256, digest};
use secrecy::{ExposeSecret, SecretString};
pub(super) use store::TABLE;
use subtle::ConstantTimeEq;

use super::{
    Actor, Identity, Principal,
    permissions::{is_among, right},
    tokens::{self, token_hash},
    verdicts::Verdict,
};
use crate::{
    control::tenants::Tenant,
    error::{Error, Result},
    types::{ApiKeyId, DisplayName, Email, Permission, TenantId, UserId},
};

/// The prefix of every API key.
pub(super) const PREFIX: &str = "fhk_";
/// The length of the checksum in hexadecimal digits: a random text passes once in four billion times.
const CHECKSUM_DIGITS: usize = 8;

/// A well-formed key.
struct Presented {
    id: ApiKeyId,
    secret: SecretString,
}

/// Creates an API key for a user, with at most the permissions in `scopes`. Only this call returns the key.
///
/// # Errors
/// The tenant's database cannot be reached.
pub async fn create(
    ctx: &Identity,
    tenant: TenantId,
    user: UserId,
    name: &DisplayName,
    scopes: &[Permission],
) -> Result<SecretString> {
    let id = ApiKeyId::generate(&ctx.clock, ctx.random);
    let secret = SecretString::from(hex(&ctx.random.bytes::<32>()));
    let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    let new = store::New { id, name, secret_hash: token_hash(&secret), user, scopes: &scopes };
    store::add(&ctx.tenancy.connect(tenant).await?, &new).await?;
    Ok(compose(id, &secret))
}

/// The first operator's key, with every permission of an operator. `None` when the platform tenant has a key already.
///
/// # Errors
/// Internal when there is no user of that address.
pub async fn create_first(ctx: &Identity, platform: TenantId, email: &Email) -> Result<Option<SecretString>> {
    let (user, has_keys) = store::before_first(&ctx.tenancy.connect(platform).await?, email).await?;
    if has_keys {
        return Ok(None);
    }
    let user = user.ok_or_else(|| Error::defect("the platform tenant has no such operator"))?;
    let name = "bootstrap".parse().map_err(Error::internal)?;
    create(ctx, platform, user, &name, right::PLATFORM).await.map(Some)
}

/// Verifies `key` and returns its principal. Makes one query, which also records the use of the key, at most once a
/// minute.
pub(super) async fn verify(ctx: &Identity, tenant: &Tenant, key: &str, ip: IpAddr) -> Result<Verdict> {
    let presented = parse(key).ok_or_else(tokens::invalid)?;
    let hash = token_hash(&presented.secret);
    let connection = ctx.tenancy.connect(tenant.id).await?;
    let found = store::used(&connection, (presented.id, &hash), ip).await?.ok_or_else(tokens::invalid)?;
    if !bool::from(found.secret_hash.ct_eq(&hash)) {
        return Err(tokens::invalid());
    }
    let mut granted = found.role.permissions(ctx, tenant);
    granted.retain(|permission| is_among(*permission, &found.scopes));
    let actor = Actor::ApiKey { key: presented.id, user: found.user };
    let expires = found.expires_at.map_or(i64::MAX, |at| at.timestamp());
    Ok(Verdict::new(Principal::new(actor, tenant.id, found.role.name, granted), expires))
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
