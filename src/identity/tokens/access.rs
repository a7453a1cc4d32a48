//! Access tokens: JSON Web Tokens (RFC 7519) of type `at+jwt` (RFC 9068), signed with the tenant's own Ed25519 key.
//!
//! One algorithm, fixed here and never read from a token; every claim is required and typed (RFC 8725). A token
//! names its tenant, and opens nothing in another. What the claims say about rights is for clients to read: the
//! role that counts is the one in the tenant's database. Nothing here does I/O.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, dangerous};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    types::{KeyId, Random, SessionId, TenantId, UserId},
};

/// How long an access token lives.
pub(super) const LIFETIME: Duration = Duration::from_mins(10);
/// By how much the clocks of two replicas may differ, in seconds.
const LEEWAY: i64 = 5;
const TYPE: &str = "at+jwt";

/// What a token says. Times are seconds since the Unix epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    /// The tenant's public address.
    pub(super) iss: String,
    /// For whose API it is: the tenant's.
    pub(super) aud: TenantId,
    /// Who.
    pub(super) sub: UserId,
    /// The tenant.
    pub(super) tid: TenantId,
    /// The session.
    pub(super) sid: SessionId,
    /// The user's role when it was made.
    pub(super) role: String,
    /// The tenant's epoch when it was made.
    pub(super) epoch: i64,
    /// Not from then on.
    pub(super) exp: i64,
    /// Made then.
    pub(super) iat: i64,
    /// Not before.
    pub(super) nbf: i64,
    /// Its own name: see [`name`].
    pub(super) jti: String,
    /// Who acts as the user (RFC 8693 §4.1). Only tokens of visits have it, and their `sid` is the visit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) act: Option<Act>,
}

/// Who acts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Act {
    /// An operator.
    pub(super) sub: UserId,
}

/// A name for an access token: the digest of the refresh token that it is issued with, a dot, and chance. The digest
/// opens nothing: nobody finds 256 random bits by it.
pub(super) fn name(refresh_hash: &[u8], random: Random) -> String {
    let [digest, chance] = [refresh_hash, &random.bytes::<16>()].map(|bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes));
    format!("{digest}.{chance}")
}

/// The digest of the refresh token that a token was issued with. Tokens of an earlier release do not tell.
pub(super) fn issued_with(claims: &Claims) -> Option<Vec<u8>> {
    let (digest, _) = claims.jti.split_once('.')?;
    BASE64_URL_SAFE_NO_PAD.decode(digest).ok().filter(|digest| digest.len() == 32)
}

/// The refusal of whatever is not a valid token. The same for every cause.
pub(in crate::identity) fn invalid() -> Error {
    Error::Unauthenticated { code: "invalid_token", detail: "the token is not valid, or not any more" }
}

/// Signs `claims`.
pub(super) fn sign(kid: KeyId, key: &EncodingKey, claims: &Claims) -> Result<String> {
    let header = Header { typ: Some(TYPE.to_owned()), kid: Some(kid.to_string()), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, claims, key).map_err(Error::internal)
}

/// The tenant that a token claims to be for. Proves nothing.
pub(in crate::identity) fn claimed_tenant(token: &str) -> Option<TenantId> {
    #[derive(Deserialize)]
    struct Claimed {
        tid: TenantId,
    }
    dangerous::insecure_decode_claims::<Claimed>(token).ok().map(|claimed| claimed.tid)
}

/// The key that a token says it was signed with, if the token is of our kind.
///
/// # Errors
/// `invalid_token`.
pub(super) fn key_id(token: &str) -> Result<KeyId> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| invalid())?;
    let is_ours = header.typ.as_deref() == Some(TYPE) && header.alg == Algorithm::EdDSA && header.crit.is_none();
    let kid = header.kid.filter(|_| is_ours).ok_or_else(invalid)?;
    kid.parse().map_err(|_| invalid())
}

/// The claims of a token that `key` signed for `tenant` under one of `issuers` and that is valid `now`.
///
/// # Errors
/// `invalid_token`.
pub(super) fn verify(token: &str, key: &DecodingKey, tenant: TenantId, issuers: &[String], now: i64) -> Result<Claims> {
    let mut signature_only = Validation::new(Algorithm::EdDSA);
    // The claims are judged below: all of them, by the clock that Freehold goes by.
    signature_only.required_spec_claims.clear();
    signature_only.validate_exp = false;
    signature_only.validate_aud = false;
    let claims = jsonwebtoken::decode::<Claims>(token, key, &signature_only).map_err(|_| invalid())?.claims;
    let is_for_us = issuers.contains(&claims.iss) && claims.aud == tenant && claims.tid == tenant;
    let is_current = claims.exp > now - LEEWAY && claims.nbf <= now + LEEWAY && claims.iat <= now + LEEWAY;
    if is_for_us && is_current { Ok(claims) } else { Err(invalid()) }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{Ed25519KeyPair, KeyPair},
    };
    use serde_json::{Value, json};

    use super::*;
    use crate::types::Clock;

    const ISSUER: &str = "https://acme.example.com";
    const NOW: i64 = 1_900_000_000;

    struct Setting {
        kid: KeyId,
        signer: EncodingKey,
        verifier: DecodingKey,
        claims: Claims,
    }

    fn setting() -> Setting {
        let (clock, random) = (Clock::default(), Random);
        let pkcs8 = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let tenant = TenantId::generate(&clock, random);
        let claims = Claims {
            iss: ISSUER.into(),
            aud: tenant,
            sub: UserId::generate(&clock, random),
            tid: tenant,
            sid: SessionId::generate(&clock, random),
            role: "member".into(),
            epoch: 1,
            exp: NOW + 600,
            iat: NOW,
            nbf: NOW,
            jti: random.token(),
            act: None,
        };
        Setting {
            kid: KeyId::generate(&clock, random),
            signer: EncodingKey::from_ed_der(pkcs8.as_ref()),
            verifier: DecodingKey::from_ed_der(pair.public_key().as_ref()),
            claims,
        }
    }

    impl Setting {
        fn accepts(&self, token: &str, now: i64) -> bool {
            key_id(token).is_ok() && verify(token, &self.verifier, self.claims.tid, &[ISSUER.to_owned()], now).is_ok()
        }

        fn with_header(&self, change: impl FnOnce(&mut Header)) -> String {
            let mut header = Header::new(Algorithm::EdDSA);
            header.typ = Some(TYPE.into());
            header.kid = Some(self.kid.to_string());
            change(&mut header);
            jsonwebtoken::encode(&header, &self.claims, &self.signer).unwrap()
        }

        fn with_claims(&self, change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> String {
            let mut claims = serde_json::to_value(&self.claims).unwrap();
            change(claims.as_object_mut().unwrap());
            let mut header = Header::new(Algorithm::EdDSA);
            header.typ = Some(TYPE.into());
            header.kid = Some(self.kid.to_string());
            jsonwebtoken::encode(&header, &claims, &self.signer).unwrap()
        }
    }

    #[test]
    fn a_token_is_valid_for_its_time_and_no_longer() {
        let setting = setting();
        let token = sign(setting.kid, &setting.signer, &setting.claims).unwrap();
        assert_eq!(key_id(&token).unwrap(), setting.kid);
        assert!(setting.accepts(&token, NOW) && setting.accepts(&token, NOW + 600));
        assert!(!setting.accepts(&token, NOW + 600 + LEEWAY));
        assert!(!setting.accepts(&token, NOW - LEEWAY - 1));
    }

    #[test]
    fn a_name_tells_the_refresh_token_and_is_no_other_tokens() {
        let mut claims = setting().claims;
        assert_eq!(issued_with(&claims), None, "a token of an earlier release");
        (claims.jti, claims.role) = (name(&[7; 32], Random), name(&[7; 32], Random));
        assert_eq!(issued_with(&claims).as_deref(), Some(&[7; 32][..]));
        assert_ne!(claims.jti, claims.role);
        for other in ["", ".", "a.b", "%.x"] {
            claims.jti = other.to_owned();
            assert_eq!(issued_with(&claims), None, "{other}");
        }
    }

    #[test]
    fn another_algorithm_type_or_critical_extension_is_refused() {
        let setting = setting();
        let token = setting.with_header(|_| ());
        assert!(setting.accepts(&token, NOW));
        let (_, rest) = token.split_once('.').unwrap();
        let (payload, _) = rest.split_once('.').unwrap();
        let kid = setting.kid;
        for header in [json!({"alg": "none", "typ": TYPE, "kid": kid}), json!({"alg": "None", "typ": TYPE, "kid": kid})]
        {
            let header = BASE64_URL_SAFE_NO_PAD.encode(header.to_string());
            assert!(!setting.accepts(&format!("{header}.{payload}."), NOW));
        }
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(TYPE.into());
        header.kid = Some(kid.to_string());
        let public = setting.verifier.try_get_as_bytes().unwrap();
        let confused = jsonwebtoken::encode(&header, &setting.claims, &EncodingKey::from_secret(public)).unwrap();
        assert!(!setting.accepts(&confused, NOW), "the public key as an HMAC secret");
        for typ in [Some("JWT"), Some("AT+JWT"), None] {
            assert!(!setting.accepts(&setting.with_header(|header| header.typ = typ.map(str::to_owned)), NOW));
        }
        assert!(!setting.accepts(&setting.with_header(|header| header.kid = None), NOW));
        assert!(!setting.accepts(&setting.with_header(|header| header.kid = Some("../../etc".into())), NOW));
        assert!(!setting.accepts(&setting.with_header(|header| header.crit = Some(vec!["exp".into()])), NOW));
    }

    #[test]
    fn every_claim_is_required_and_typed() {
        let setting = setting();
        assert!(setting.accepts(&setting.with_claims(|_| ()), NOW));
        for claim in ["iss", "aud", "sub", "tid", "sid", "role", "epoch", "exp", "iat", "nbf", "jti"] {
            assert!(!setting.accepts(&setting.with_claims(|claims| drop(claims.remove(claim))), NOW), "no {claim}");
            for wrong in [Value::Null, json!([]), json!({"a": 1}), json!(true), json!("x"), json!(1.5)] {
                let is_text = matches!(claim, "role" | "jti") && wrong.is_string();
                let token = setting.with_claims(|claims| drop(claims.insert(claim.into(), wrong.clone())));
                assert!(is_text || !setting.accepts(&token, NOW), "{claim} = {wrong}");
            }
        }
    }

    #[test]
    fn another_tenants_issuers_or_keys_token_is_refused() {
        let (setting, other) = (setting(), setting());
        let token = setting.with_claims(|_| ());
        assert!(verify(&token, &setting.verifier, other.claims.tid, &[ISSUER.to_owned()], NOW).is_err());
        assert!(
            verify(&token, &setting.verifier, setting.claims.tid, &["https://globex.example.com".to_owned()], NOW)
                .is_err()
        );
        assert!(verify(&token, &other.verifier, setting.claims.tid, &[ISSUER.to_owned()], NOW).is_err());
        assert_eq!(claimed_tenant(&token), Some(setting.claims.tid));
        assert_eq!(claimed_tenant("not.a.token"), None);
        let (signed, signature) = token.rsplit_once('.').unwrap();
        assert!(!setting.accepts(&format!("{signed}.{}", &signature[..signature.len() - 4]), NOW));
    }
}
