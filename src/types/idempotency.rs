//! What makes the repetition of a request known.

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

/// Which request this is, by its client's own name for it. Keys of one principal or route say nothing about another's.
#[derive(Clone, Debug)]
pub struct Idempotency {
    principal: String,
    route: &'static str,
    key: String,
    asked: SecretString,
}

impl Idempotency {
    /// The request that `principal` (`usr_…`, `key_…`) calls `key`, on the route of this name, which is stored: never
    /// change one. `asked` is all that makes two requests the same, path parameters and secrets included.
    ///
    /// # Errors
    /// `asked` cannot be written as JSON.
    pub fn new(
        principal: String,
        route: &'static str,
        key: String,
        asked: &impl Serialize,
    ) -> serde_json::Result<Self> {
        Ok(Self { principal, route, key, asked: serde_json::to_string(asked)?.into() })
    }

    /// Who asks.
    #[must_use]
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// Which route is asked.
    #[must_use]
    pub const fn route(&self) -> &'static str {
        self.route
    }

    /// The client's `Idempotency-Key`.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is asked, byte for byte. It may hold a password: nothing but a digest of it is ever kept.
    #[must_use]
    pub fn asked(&self) -> &[u8] {
        self.asked.expose_secret().as_bytes()
    }
}
