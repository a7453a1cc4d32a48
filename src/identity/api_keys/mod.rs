//! API keys for programs that act on behalf of a user: `fhk_<id>_<secret>_<checksum>`.
//!
//! The id identifies the row. The secret is 256 random bits, of which only a digest is stored. The checksum rejects a
//! mistyped or invented key without a query. It also lets scanners of public code recognize a leaked key.
//!
//! A key is shown once. It is drawn first and recorded then, so that whoever needs it can keep it before it is valid.
//! It is valid until it is revoked, it expires, or its owner is deactivated. It grants the permissions in its scopes
//! that its owner has now. It has no session, so it cannot do what needs a signed-in user: no key makes another. A clone of
//! the tenant has none of its keys. [`manage`] makes keys for people and service accounts, rotates and revokes them.

mod manage;
mod store;

use std::{fmt::Write, net::IpAddr};

use aws_lc_rs::digest::{SHA256, digest};
pub use manage::{ApiKey, Filter, NewApiKey, Rotation, create_for_service, create_own, get, list, revoke, rotate};
use secrecy::{ExposeSecret, SecretString};
pub(super) use store::{TABLE, revoke_all as revoke_all_in_txn};
use subtle::ConstantTimeEq;

use super::{
    Actor, Identity, Principal,
    permissions::{OWNER, is_among},
    tokens::{self, token_hash},
    verdicts::Verdict,
};
use crate::{
    control::tenants::Tenant,
    error::{Error, Result},
    tenancy::Statements,
    types::{ApiKeyId, Clock, DisplayName, Email, Permission, Plane, Random, TenantId, UserId},
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
    let key = draw(&ctx.clock, ctx.random);
    let drawn = parse(key.expose_secret()).ok_or_else(|| Error::defect("a new API key is not one"))?;
    record(&ctx.tenancy.connect(tenant).await?, &drawn, (user, name, scopes)).await?;
    Ok(key)
}

/// A new key, which is not valid before it is recorded.
#[must_use]
pub fn draw(clock: &Clock, random: Random) -> SecretString {
    compose(ApiKeyId::generate(clock, random), &SecretString::from(hex(&random.bytes::<32>())))
}

/// Whether the text has the form of a key.
#[must_use]
pub fn is_whole(text: &SecretString) -> bool {
    parse(text.expose_secret()).is_some()
}

/// Makes `key` the first operator's, with every permission of an operator. Answers whether it is: an earlier call may
/// have done so already, and the platform tenant may have another key, which then stays the only one.
///
/// # Errors
/// Internal when there is no user of that address, and for what is no key.
pub async fn create_first(ctx: &Identity, platform: TenantId, email: &Email, key: &SecretString) -> Result<bool> {
    let key = parse(key.expose_secret()).ok_or_else(|| Error::defect("the first operator's API key is not one"))?;
    let connection = ctx.tenancy.connect(platform).await?;
    let before = store::before_first(&connection, email, key.id).await?;
    if before.has_keys {
        let recorded = before.recorded.is_some_and(|hash| bool::from(hash.ct_eq(&token_hash(&key.secret))));
        return Ok(recorded);
    }
    let user = before.user.ok_or_else(|| Error::defect("the platform tenant has no such operator"))?;
    let name: DisplayName = "bootstrap".parse().map_err(Error::internal)?;
    let all = ctx.permissions.of_role(Plane::Platform, OWNER, &[]);
    record(&connection, &key, (user, &name, &all)).await?;
    Ok(true)
}

async fn record(
    statements: &impl Statements,
    key: &Presented,
    (user, name, scopes): (UserId, &DisplayName, &[Permission]),
) -> Result<()> {
    let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    let (id, secret_hash) = (key.id, token_hash(&key.secret));
    let new =
        store::New { id, name: name.as_str(), secret_hash, user, scopes: &scopes, bounds: &store::Bounds::default() };
    store::add(statements, &new).await.map(drop)
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
