//! The key-encryption keys: what everything sealed in the control database depends on.

use base64::{Engine, prelude::BASE64_STANDARD};
use secrecy::SecretBox;

use super::{Environment, source::Reader};
use crate::types::Invalid;

/// A key that wraps data keys. Its id is stored beside what it wrapped, so that keys can be rotated.
#[derive(Debug)]
pub struct KeyEncryptionKey {
    /// 1 to 32 of `a-z 0-9 -`.
    pub id: String,
    /// 256 bits.
    pub key: SecretBox<[u8; 32]>,
}

pub(super) fn read(reader: &mut Reader<'_>, environment: Environment) -> Vec<KeyEncryptionKey> {
    let mut given = false;
    let keys = reader.parsed("key_encryption_keys", Vec::new(), |text| {
        given = true;
        parse_keys(text)
    });
    if !given {
        let how = "is required: ID:BASE64 of 32 random bytes, such as k1:$(openssl rand -base64 32)";
        reader.problem("key_encryption_keys", how);
    }
    let weak = |key: &KeyEncryptionKey| {
        let bytes = secrecy::ExposeSecret::expose_secret(&key.key);
        let distinct: std::collections::BTreeSet<_> = bytes.iter().collect();
        distinct.len() < 12
    };
    if environment == Environment::Production && keys.iter().any(weak) {
        reader.problem("key_encryption_keys", "holds a key that is not random; make one with: openssl rand -base64 32");
    }
    keys
}

/// Parses `id:base64,id:base64`; the first key is the one that seals from now on.
pub fn parse_keys(text: &str) -> Result<Vec<KeyEncryptionKey>, Invalid> {
    let keys = text.split(',').map(|part| parse_key(part.trim())).collect::<Result<Vec<_>, _>>()?;
    let distinct: std::collections::BTreeSet<_> = keys.iter().map(|key| &key.id).collect();
    if distinct.len() == keys.len() { Ok(keys) } else { Err(Invalid::new("invalid", "must not name an id twice")) }
}

fn parse_key(part: &str) -> Result<KeyEncryptionKey, Invalid> {
    let invalid = || Invalid::new("invalid", "must be ID:BASE64 pairs separated by commas, each key of 32 bytes");
    let (id, encoded) = part.split_once(':').ok_or_else(invalid)?;
    let id_ok =
        (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let bytes = BASE64_STANDARD.decode(encoded).map_err(|_| invalid())?;
    let key: [u8; 32] = bytes.try_into().map_err(|_| invalid())?;
    if id_ok { Ok(KeyEncryptionKey { id: id.to_owned(), key: SecretBox::new(Box::new(key)) }) } else { Err(invalid()) }
}
