//! Time-based one-time codes (RFC 6238): six digits, thirty seconds, HMAC-SHA-1, as every authenticator app has them.
//!
//! A code is valid in its own step and in the ones beside it, since clocks differ. Which step it was is told, so that the
//! caller accepts each step once. Nothing here does I/O.

use std::fmt::Write;

use aws_lc_rs::hmac;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use subtle::ConstantTimeEq;

use crate::types::Random;

/// 160 bits: as long as the digest (RFC 4226, §4).
pub(super) const SEED_BYTES: usize = 20;
/// How long a step is, in seconds.
const STEP: i64 = 30;
/// How many steps a clock may be off.
const SKEW: i64 = 1;
const DIGITS: usize = 6;
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The secret that an authenticator app and Freehold share.
pub(in crate::identity) struct Seed(SecretBox<Vec<u8>>);

impl Seed {
    /// A new one.
    pub(super) fn generate(random: Random) -> Self {
        Self(SecretBox::new(Box::new(random.bytes::<SEED_BYTES>().to_vec())))
    }

    /// One that was stored.
    pub(super) fn of(bytes: SecretBox<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// As it is stored, sealed.
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.expose_secret()
    }

    /// As people type it into an app: Base32 (RFC 4648, §6) without padding.
    pub(in crate::identity) fn text(&self) -> SecretString {
        base32(self.0.expose_secret()).into()
    }

    /// The step whose code this is: the present one, or one beside it. Every step is looked at, whatever is found.
    pub(super) fn step_of(&self, code: &str, unix_seconds: i64) -> Option<i64> {
        let now = unix_seconds.div_euclid(STEP);
        let matching = |step: &i64| bool::from(self.code(*step).as_bytes().ct_eq(code.as_bytes()));
        (now - SKEW..=now + SKEW).filter(matching).fold(None, |_, step| Some(step))
    }

    /// The code of a step (RFC 4226, §5.3).
    fn code(&self, step: i64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, self.0.expose_secret());
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let tag = tag.as_ref();
        let offset = usize::from(tag.last().copied().unwrap_or_default() & 0xf);
        let word = tag.get(offset..offset + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_be_bytes);
        format!("{:0DIGITS$}", (word & 0x7fff_ffff) % 10_u32.pow(6))
    }
}

/// Whether the text could be a code of an app. Everything else may be a recovery code.
pub(super) fn is_code(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// What an app reads from a QR code (the `otpauth` scheme). `issuer` and `account` are what people see in the app.
pub(in crate::identity) fn uri(seed: &Seed, issuer: &str, account: &str) -> SecretString {
    let (issuer, account) = (escaped(issuer), escaped(account));
    let secret = seed.text();
    let secret = secret.expose_secret();
    let kind = format!("algorithm=SHA1&digits={DIGITS}&period={STEP}");
    format!("otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}&{kind}").into()
}

/// Escapes everything but what RFC 3986 calls unreserved: some apps take `+` for itself.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            all.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(all, "%{byte:02X}");
        }
        all
    })
}

/// Base32 (RFC 4648, §6) without padding.
pub(super) fn base32(bytes: &[u8]) -> String {
    let (mut text, mut held, mut bits) = (String::with_capacity(bytes.len() * 8 / 5 + 1), 0_u32, 0_u32);
    let mut push = |index: u32| text.push(char::from(ALPHABET[(index & 31) as usize]));
    for byte in bytes {
        (held, bits) = ((held << 8) | u32::from(*byte), bits + 8);
        while bits >= 5 {
            bits -= 5;
            push(held >> bits);
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        push(held << (5 - bits));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seed of RFC 6238, appendix B.
    fn seed() -> Seed {
        Seed::of(SecretBox::new(Box::new(b"12345678901234567890".to_vec())))
    }

    #[test]
    fn codes_are_those_of_the_rfc() {
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(seed().step_of(code, seconds), Some(seconds / 30), "{seconds}");
        }
    }

    #[test]
    fn a_code_is_valid_in_its_step_and_beside_it_and_tells_which_it_is() {
        let at = 1_111_111_111;
        let code = seed().code(at / 30);
        for (seconds, expected) in
            [(at - 60, None), (at - 30, Some(at / 30)), (at + 30, Some(at / 30)), (at + 60, None)]
        {
            assert_eq!(seed().step_of(&code, seconds), expected, "{seconds}");
        }
        for wrong in ["", "05047", "0504710", "050472", "o50471"] {
            assert_eq!(seed().step_of(wrong, at), None, "{wrong}");
        }
    }

    #[test]
    fn texts_are_as_apps_read_them() {
        for (bytes, text) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(bytes.as_bytes()), text, "{bytes}");
        }
        let uri = uri(&seed(), "Acme & Söhne", "ada+x@example.com");
        assert_eq!(
            uri.expose_secret(),
            "otpauth://totp/Acme%20%26%20S%C3%B6hne:ada%2Bx%40example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
             &issuer=Acme%20%26%20S%C3%B6hne&algorithm=SHA1&digits=6&period=30"
        );
        assert!(is_code("012345") && !is_code("01234") && !is_code("01234a") && !is_code("abcd-efgh"));
    }
}
