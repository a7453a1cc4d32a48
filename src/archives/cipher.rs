//! The format of an archive: a header, then chunks, each sealed for its place.
//!
//! The construction is STREAM (Hoang, Reyhanitabar, Rogaway and Vizár 2015, the "BE32" layout of `aead-stream`) over
//! AES-256-GCM. A chunk's nonce is seven random bytes of the header, the chunk's number, and whether it is the last:
//! a chunk that is missing, moved, repeated, cut off or added does not open. The header, the tenant and the archive
//! are associated data of every chunk: a file that is moved to another name does not open either.
//!
//! Every archive has a key of its own, so no nonce is ever used twice under one key. Nothing here does I/O, and
//! plaintext that is not authentic never leaves this module.
//!
//! The header: 16 bytes of magic, one of format version, seven of nonce. A chunk: 256 KiB of plaintext and 16 bytes
//! of tag; the last one is shorter, and empty only in an archive of nothing.

use aead_stream::{
    DecryptorBE32, EncryptorBE32,
    aead::{self, AeadCore, AeadInOut, TagPosition, array::Array, consts, inout::InOutBuf},
};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use secrecy::{ExposeSecret, SecretBox};

use super::ArchiveName;
use crate::{
    error::{Error, Result},
    types::Random,
};

/// Plaintext of a chunk. The counter of 32 bits ends at a pebibyte.
pub(super) const CHUNK: usize = 256 * 1024;
/// A sealed chunk.
pub(super) const SEALED_CHUNK: usize = CHUNK + TAG;
/// What stands before the first chunk.
pub(super) const HEADER: usize = MAGIC.len() + 1 + NONCE;

const MAGIC: &[u8; 16] = b"freehold archive";
const FORMAT: u8 = 1;
const NONCE: usize = 7;
const TAG: usize = 16;

/// The key of one archive: 256 bits that nothing else is sealed with. Its owner seals it under a purpose that names
/// the archive, and destroys it with the archive.
#[derive(Debug)]
pub struct ArchiveKey(SecretBox<[u8; 32]>);

impl ArchiveKey {
    /// A new key.
    #[must_use]
    pub fn generate(random: Random) -> Self {
        Self(SecretBox::new(Box::new(random.bytes())))
    }

    /// The key that was sealed.
    ///
    /// # Errors
    /// Internal, unless there are 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let key = bytes.try_into().map_err(|_| Error::defect("an archive's key has a wrong length"))?;
        Ok(Self(SecretBox::new(Box::new(key))))
    }

    fn cipher(&self) -> Result<Cipher> {
        let key = UnboundKey::new(&AES_256_GCM, self.0.expose_secret())
            .map_err(|_| Error::defect("the cipher refuses the archive's key"))?;
        Ok(Cipher(LessSafeKey::new(key)))
    }
}

impl ExposeSecret<[u8; 32]> for ArchiveKey {
    fn expose_secret(&self) -> &[u8; 32] {
        self.0.expose_secret()
    }
}

/// Seals the chunks of one archive, in order.
pub(super) struct Sealer {
    stream: EncryptorBE32<Cipher>,
    associated: Vec<u8>,
}

impl Sealer {
    /// Begins an archive; the header comes before the first chunk.
    pub(super) fn begin(key: &ArchiveKey, name: ArchiveName) -> Result<(Self, [u8; HEADER])> {
        let nonce: [u8; NONCE] = Random.bytes();
        let mut header = [0; HEADER];
        header[..MAGIC.len()].copy_from_slice(MAGIC);
        header[MAGIC.len()] = FORMAT;
        header[HEADER - NONCE..].copy_from_slice(&nonce);
        let stream = EncryptorBE32::from_aead(key.cipher()?, &Array(nonce));
        Ok((Self { stream, associated: associated(&header, name) }, header))
    }

    /// Seals a full chunk that others follow, in place.
    pub(super) fn seal(&mut self, chunk: &mut Vec<u8>) -> Result<()> {
        self.stream.encrypt_next_in_place(&self.associated, chunk).map_err(|_| Error::defect("an archive is too long"))
    }

    /// Seals the last chunk, in place.
    pub(super) fn seal_last(self, chunk: &mut Vec<u8>) -> Result<()> {
        let sealed = self.stream.encrypt_last_in_place(&self.associated, chunk);
        sealed.map_err(|_| Error::defect("the last chunk of an archive cannot be sealed"))
    }
}

/// Opens the chunks of one archive, in order.
pub(super) struct Opener {
    stream: DecryptorBE32<Cipher>,
    associated: Vec<u8>,
}

impl Opener {
    /// Reads the header.
    ///
    /// # Errors
    /// `archive_damaged` when it is none that this release knows.
    pub(super) fn begin(key: &ArchiveKey, name: ArchiveName, header: &[u8]) -> Result<Self> {
        let nonce = header
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.strip_prefix(&[FORMAT]))
            .and_then(|rest| <[u8; NONCE]>::try_from(rest).ok())
            .ok_or_else(|| damaged("its header is not one that this release reads"))?;
        let stream = DecryptorBE32::from_aead(key.cipher()?, &Array(nonce));
        Ok(Self { stream, associated: associated(header, name) })
    }

    /// Opens a chunk that others follow, in place.
    ///
    /// # Errors
    /// `archive_damaged` when it is not the chunk that was sealed for this place with this key under this name.
    pub(super) fn open(&mut self, chunk: &mut Vec<u8>) -> Result<()> {
        let opened = self.stream.decrypt_next_in_place(&self.associated, chunk);
        opened.map_err(|_| damaged("a part of it is not what was written"))
    }

    /// Opens the last chunk, in place.
    ///
    /// # Errors
    /// As [`open`](Self::open); also when the archive was cut off or went on here.
    pub(super) fn open_last(self, chunk: &mut Vec<u8>) -> Result<()> {
        let opened = self.stream.decrypt_last_in_place(&self.associated, chunk);
        opened.map_err(|_| damaged("its end is not what was written"))
    }
}

/// The archive cannot be trusted; `how` is for the operator.
pub(super) fn damaged(how: &str) -> Error {
    Error::conflict("archive_damaged", format!("the archive is damaged or another one: {how}"))
}

fn associated(header: &[u8], name: ArchiveName) -> Vec<u8> {
    [header, name.tenant.uuid().as_bytes(), name.archive.uuid().as_bytes()].concat()
}

/// AES-256-GCM of aws-lc-rs, as `aead-stream` takes ciphers: one crypto library, and compiled C in every profile.
struct Cipher(LessSafeKey);

impl AeadCore for Cipher {
    type NonceSize = consts::U12;
    type TagSize = consts::U16;
    const TAG_POSITION: TagPosition = TagPosition::Postfix;
}

impl AeadInOut for Cipher {
    fn encrypt_inout_detached(
        &self,
        nonce: &aead::Nonce<Self>,
        associated: &[u8],
        buffer: InOutBuf<'_, '_, u8>,
    ) -> aead::Result<aead::Tag<Self>> {
        let nonce = Nonce::assume_unique_for_key(nonce.0);
        let data = buffer.into_out_with_copied_in();
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(associated), data).map_err(|_| aead::Error)?;
        tag.as_ref().try_into().map_err(|_| aead::Error)
    }

    fn decrypt_inout_detached(
        &self,
        nonce: &aead::Nonce<Self>,
        associated: &[u8],
        buffer: InOutBuf<'_, '_, u8>,
        tag: &aead::Tag<Self>,
    ) -> aead::Result<()> {
        let nonce = Nonce::assume_unique_for_key(nonce.0);
        let data = buffer.into_out_with_copied_in();
        let opened = self.0.open_in_place_separate_tag(nonce, Aad::from(associated), tag, data);
        opened.map(drop).map_err(|_| aead::Error)
    }
}
