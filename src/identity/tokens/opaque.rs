//! Tokens that say nothing: 256 random bits, or derived from such. Only their digests are stored.

use aws_lc_rs::{
    digest::{SHA256, digest},
    hmac,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};

/// What is stored of a token with 256 bits of entropy: nobody can find it again by trying.
pub(in crate::identity) fn token_hash(token: &SecretString) -> Vec<u8> {
    digest(&SHA256, token.expose_secret().as_bytes()).as_ref().to_vec()
}

/// The refresh token that follows `token`. Whoever holds the session's key and `token` can derive it again.
pub(in crate::identity) fn successor(rotation_key: &[u8], token: &SecretString) -> SecretString {
    let key = hmac::Key::new(hmac::HMAC_SHA256, rotation_key);
    let tag = hmac::sign(&key, token.expose_secret().as_bytes());
    SecretString::from(BASE64_URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_one_successor_a_session() {
        let token = SecretString::from("token");
        let again = successor(&[1; 32], &token);
        assert_eq!(successor(&[1; 32], &token).expose_secret(), again.expose_secret());
        assert_ne!(successor(&[2; 32], &token).expose_secret(), again.expose_secret());
        assert_ne!(successor(&[1; 32], &again).expose_secret(), again.expose_secret());
        assert_eq!(again.expose_secret().len(), 43);
    }
}
