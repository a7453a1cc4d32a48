//! Randomness, as an argument: the operating system's, through aws-lc-rs.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

/// A source of cryptographically secure random bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

impl Random {
    /// `N` random bytes.
    ///
    /// # Panics
    /// When the operating system cannot supply randomness: nothing that Freehold does would be safe then.
    #[must_use]
    pub fn bytes<const N: usize>(self) -> [u8; N] {
        let mut bytes = [0_u8; N];
        assert!(aws_lc_rs::rand::fill(&mut bytes).is_ok(), "the operating system supplies no randomness");
        bytes
    }

    /// A 256-bit token in base64url without padding (43 characters): sessions, invitations, API keys.
    #[must_use]
    pub fn token(self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.bytes::<32>())
    }
}
