//! The cryptographic back ends of TLS and of tokens: chosen once, before anything uses them.
//!
//! Both libraries choose among the back ends that were compiled in and panic at their first use when there is
//! none, or more than one. That would be some request's first use: here it is the program's start.

use anyhow::{Context, anyhow};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};

/// Installs the TLS provider and proves that tokens can be signed and verified.
pub(super) fn install() -> anyhow::Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow!("another TLS provider is installed already"))?;
    sign_and_verify().context("this build of Freehold cannot sign tokens")
}

fn sign_and_verify() -> anyhow::Result<()> {
    let document =
        Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map_err(|_| anyhow!("no key could be made"))?;
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|_| anyhow!("the key made is not a key"))?;
    let token = jsonwebtoken::encode(
        &Header::new(Algorithm::EdDSA),
        &json!({ "sub": "self-check" }),
        &EncodingKey::from_ed_der(document.as_ref()),
    )?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    jsonwebtoken::decode::<Value>(&token, &DecodingKey::from_ed_der(pair.public_key().as_ref()), &validation)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_build_signs_and_verifies() {
        sign_and_verify().unwrap();
    }
}
