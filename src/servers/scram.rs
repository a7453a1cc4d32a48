//! Password verifiers (RFC 5803), computed here so that a plain password never travels in DDL and never
//! reaches a statement log.

use std::num::NonZeroU32;

use aws_lc_rs::{
    digest::{SHA256, digest},
    hmac::{self, HMAC_SHA256},
    pbkdf2::{self, PBKDF2_HMAC_SHA256},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret, SecretString};

use crate::types::Random;

/// Rounds make passwords that people choose harder to guess. 256 random bits are not guessed, and PostgreSQL would do
/// the rounds for every role that is made, and Freehold for every connection: see docs/decisions.
const ROUNDS: NonZeroU32 = NonZeroU32::MIN;

/// `SCRAM-SHA-256$1:…` with a salt of its own: what PostgreSQL stores, and takes in place of the password, which must
/// be one of [`Random::token`]: of ASCII, so that `SASLprep` leaves it as it is, and not to be guessed.
/// `verifier_of_any` is for others.
#[must_use]
pub fn verifier(password: &SecretString) -> String {
    let salt: [u8; 16] = Random.bytes();
    let mut salted = [0; 32];
    pbkdf2::derive(PBKDF2_HMAC_SHA256, ROUNDS, &salt, password.expose_secret().as_bytes(), &mut salted);
    let salted = hmac::Key::new(HMAC_SHA256, &salted);
    let stored = digest(&SHA256, hmac::sign(&salted, b"Client Key").as_ref());
    let server = hmac::sign(&salted, b"Server Key");
    let [salt, stored, server] = [&salt, stored.as_ref(), server.as_ref()].map(|bytes| BASE64_STANDARD.encode(bytes));
    format!("SCRAM-SHA-256${ROUNDS}:{salt}${stored}:{server}")
}

/// The same of a password that a person may have chosen: `SCRAM-SHA-256$4096:…`, as PostgreSQL itself makes it.
#[must_use]
pub(super) fn verifier_of_any(password: &SecretString) -> String {
    postgres_protocol::password::scram_sha_256(password.expose_secret().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_is_salted_hides_the_password_and_fits_into_ddl() {
        for (password, start, make) in [
            (SecretString::from(Random.token()), "SCRAM-SHA-256$1:", verifier as fn(&_) -> _),
            ("correct horse battery staple".into(), "SCRAM-SHA-256$4096:", verifier_of_any),
        ] {
            let made = make(&password);
            assert!(made.starts_with(start), "{made}");
            assert!(!made.contains(password.expose_secret()));
            assert_ne!(made, make(&password));
            assert!(crate::servers::quote_literal(&made).is_ok());
        }
    }
}
