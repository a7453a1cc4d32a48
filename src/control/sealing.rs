//! Sealing: envelope encryption of the secrets that the control database holds.
//!
//! Every owner (a tenant, a server) has a data key of its own, which a key-encryption key from the
//! configuration wraps. AES-256-GCM (NIST SP 800-38D) with a random nonce; the owner and the purpose are
//! associated data, so a sealed value that is moved to another row does not open. Destroying an owner's data
//! key makes all that it sealed unreadable. Nothing here does I/O, and no key is ever printed.
//!
//! A sealed value is one byte of format version, twelve of nonce, then ciphertext and tag.

use std::collections::HashMap;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hmac,
};
use secrecy::{ExposeSecret, SecretBox};
use uuid::Uuid;

use crate::{
    error::{Error, Result},
    types::Random,
};

const FORMAT: u8 = 1;

/// The key-encryption keys. The active one wraps; all of them unwrap.
pub struct KeyRing {
    active: String,
    keys: HashMap<String, SecretBox<[u8; 32]>>,
}

/// A data key as the control database holds it.
#[derive(Clone, Debug)]
pub struct WrappedKey {
    /// The key-encryption key that wrapped it.
    pub kek_id: String,
    /// Useless without that key.
    pub wrapped: Vec<u8>,
}

/// An owner's data key, unwrapped. Short-lived: made for one use and dropped.
pub struct DataKey {
    owner: Uuid,
    key: SecretBox<[u8; 32]>,
}

impl KeyRing {
    /// A ring whose first key is the active one.
    pub fn new(keys: impl IntoIterator<Item = (String, SecretBox<[u8; 32]>)>) -> Result<Self> {
        let mut keys = keys.into_iter();
        let (active, first) = keys.next().ok_or_else(|| Error::defect("the key ring is empty"))?;
        let keys = std::iter::once((active.clone(), first)).chain(keys).collect();
        Ok(Self { active, keys })
    }

    /// A new data key for `owner`, and its wrapped form for the control database.
    pub fn generate(&self, owner: Uuid, random: Random) -> Result<(DataKey, WrappedKey)> {
        let key = SecretBox::new(Box::new(random.bytes::<32>()));
        let kek = self.keys.get(&self.active).ok_or_else(|| Error::defect("the active key is not in the ring"))?;
        let wrapped = seal(kek, &associated(owner, "data_key"), key.expose_secret())?;
        Ok((DataKey { owner, key }, WrappedKey { kek_id: self.active.clone(), wrapped }))
    }

    /// The data key of `owner`. Fails when the key that wrapped it is not configured, or when it was not
    /// wrapped for this owner.
    pub fn unwrap(&self, owner: Uuid, wrapped: &WrappedKey) -> Result<DataKey> {
        let kek = self
            .keys
            .get(&wrapped.kek_id)
            .ok_or_else(|| Error::defect(format!("the key-encryption key {} is not configured", wrapped.kek_id)))?;
        let bytes = open(kek, &associated(owner, "data_key"), &wrapped.wrapped)?;
        let key: [u8; 32] = bytes.as_slice().try_into().map_err(|_| Error::defect("a data key has a wrong length"))?;
        Ok(DataKey { owner, key: SecretBox::new(Box::new(key)) })
    }

    /// The names of its keys, the active one first.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        let mut ids: Vec<_> = self.keys.keys().cloned().collect();
        ids.sort_by_key(|id| (*id != self.active, id.clone()));
        ids
    }

    /// The same data key of `owner`, wrapped by the key `to`.
    pub fn rewrap(&self, owner: Uuid, wrapped: &WrappedKey, to: &str) -> Result<WrappedKey> {
        let key = self.unwrap(owner, wrapped)?.key;
        let kek = self.keys.get(to).ok_or_else(|| Error::defect(format!("the key {to} is not in the ring")))?;
        let wrapped = seal(kek, &associated(owner, "data_key"), key.expose_secret())?;
        Ok(WrappedKey { kek_id: to.to_owned(), wrapped })
    }

    /// Keyed digests of `message`, the active key's first: for comparing what must not be guessable from the
    /// control database alone. One under each key, so that a rotation does not make equal messages differ.
    #[must_use]
    pub fn digests(&self, message: &[u8]) -> Vec<[u8; 32]> {
        self.ids().iter().filter_map(|id| self.keys.get(id)).map(|kek| digest(kek, message)).collect()
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRing").field("active", &self.active).finish_non_exhaustive()
    }
}

impl DataKey {
    /// Seals `plaintext` for `purpose`.
    pub fn seal(&self, purpose: &str, plaintext: &[u8]) -> Result<Vec<u8>> {
        seal(&self.key, &associated(self.owner, purpose), plaintext)
    }

    /// Opens what was sealed for the same owner and `purpose`.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<SecretBox<Vec<u8>>> {
        open(&self.key, &associated(self.owner, purpose), sealed).map(|bytes| SecretBox::new(Box::new(bytes)))
    }
}

fn associated(owner: Uuid, purpose: &str) -> Vec<u8> {
    [owner.as_bytes().as_slice(), purpose.as_bytes()].concat()
}

fn digest(kek: &SecretBox<[u8; 32]>, message: &[u8]) -> [u8; 32] {
    // A key of its own, derived for this one purpose, so that the wrapping key is used for wrapping only.
    let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, kek.expose_secret()), b"freehold request digest v1");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()), message);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

fn cipher(key: &SecretBox<[u8; 32]>) -> Result<RandomizedNonceKey> {
    RandomizedNonceKey::new(&AES_256_GCM, key.expose_secret()).map_err(|_| Error::defect("a key has a wrong length"))
}

fn seal(key: &SecretBox<[u8; 32]>, associated: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
    let mut buffer = plaintext.to_vec();
    let nonce = cipher(key)?
        .seal_in_place_append_tag(Aad::from(associated), &mut buffer)
        .map_err(|_| Error::defect("a secret could not be sealed"))?;
    Ok([&[FORMAT], nonce.as_ref().as_slice(), &buffer].concat())
}

fn open(key: &SecretBox<[u8; 32]>, associated: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
    let refused = || Error::defect("a sealed secret does not open: wrong key, wrong place or damaged");
    let (&[FORMAT], rest) = sealed.split_first_chunk::<1>().ok_or_else(refused)? else { return Err(refused()) };
    let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(refused)?;
    let mut buffer = ciphertext.to_vec();
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let plaintext = cipher(key)?.open_in_place(nonce, Aad::from(associated), &mut buffer).map_err(|_| refused())?.len();
    buffer.truncate(plaintext);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(ids: &[(&str, u8)]) -> KeyRing {
        KeyRing::new(ids.iter().map(|(id, byte)| ((*id).to_owned(), SecretBox::new(Box::new([*byte; 32]))))).unwrap()
    }

    #[test]
    fn a_secret_opens_only_for_its_owner_and_purpose() {
        let ring = ring(&[("k1", 1)]);
        let (owner, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let (key, wrapped) = ring.generate(owner, Random).unwrap();
        let sealed = key.seal("database_password", b"secret").unwrap();
        assert_eq!(key.open("database_password", &sealed).unwrap().expose_secret(), b"secret");
        assert!(key.open("signing_key", &sealed).is_err());
        assert!(ring.unwrap(other, &wrapped).is_err(), "a data key moved to another owner must not unwrap");
        let (other_key, _) = ring.generate(other, Random).unwrap();
        assert!(other_key.open("database_password", &sealed).is_err());
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let ring = ring(&[("k1", 1)]);
        let (key, _) = ring.generate(Uuid::from_u128(1), Random).unwrap();
        let sealed = key.seal("p", b"secret").unwrap();
        for index in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[index] ^= 1;
            assert!(key.open("p", &damaged).is_err(), "byte {index}");
        }
        assert!(key.open("p", &[]).is_err());
    }

    #[test]
    fn a_data_key_wrapped_anew_is_the_same_key_under_another() {
        let owner = Uuid::from_u128(1);
        let both = ring(&[("k1", 1), ("k2", 2)]);
        let (key, wrapped) = both.generate(owner, Random).unwrap();
        let sealed = key.seal("p", b"secret").unwrap();
        let rewrapped = both.rewrap(owner, &wrapped, "k2").unwrap();
        assert_eq!((wrapped.kek_id.as_str(), rewrapped.kek_id.as_str()), ("k1", "k2"));
        let opened = ring(&[("k2", 2)]).unwrap(owner, &rewrapped).unwrap().open("p", &sealed).unwrap();
        assert_eq!(opened.expose_secret(), b"secret");
        assert!(both.rewrap(Uuid::from_u128(2), &wrapped, "k2").is_err(), "another owner's");
        assert!(both.rewrap(owner, &wrapped, "k3").is_err(), "a key that is not there");
        assert_eq!(both.ids(), ["k1", "k2"]);
    }

    #[test]
    fn an_older_key_still_unwraps_and_digests() {
        let owner = Uuid::from_u128(1);
        let (key, wrapped) = ring(&[("k1", 1)]).generate(owner, Random).unwrap();
        let sealed = key.seal("p", b"secret").unwrap();
        let rotated = ring(&[("k2", 2), ("k1", 1)]);
        assert_eq!(rotated.unwrap(owner, &wrapped).unwrap().open("p", &sealed).unwrap().expose_secret(), b"secret");
        assert!(rotated.digests(b"m").contains(&ring(&[("k1", 1)]).digests(b"m")[0]));
        assert!(ring(&[("k2", 2)]).unwrap(owner, &wrapped).is_err());
    }
}
