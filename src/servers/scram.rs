//! Password verifiers (RFC 5803), computed here so that a plain password never travels in DDL and never
//! reaches a statement log.

use secrecy::{ExposeSecret, SecretString};

/// `SCRAM-SHA-256$4096:…` with a salt of its own: what PostgreSQL stores, and takes in place of the password.
/// 4,096 rounds is what PostgreSQL itself uses; the passwords are random and 256 bits long.
#[must_use]
pub fn verifier(password: &SecretString) -> String {
    postgres_protocol::password::scram_sha_256(password.expose_secret().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_is_salted_hides_the_password_and_fits_into_ddl() {
        let password = SecretString::from("correct horse battery staple");
        let made = verifier(&password);
        assert!(made.starts_with("SCRAM-SHA-256$4096:"));
        assert!(!made.contains("horse"));
        assert_ne!(made, verifier(&password));
        assert!(crate::servers::quote_literal(&made).is_ok());
    }
}
