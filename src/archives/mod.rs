//! Archives: dumps of tenants' databases, encrypted, in a store that is not trusted.
//!
//! [`write()`] takes a stream, seals it chunk by chunk under a key of its own, stores it, and reads all of it back
//! before it says that it is there. [`read()`] yields what was written, each chunk once it is known to be authentic,
//! and ends in an error where the archive does not end as it was written. Whoever calls them keeps the key: sealed
//! in the control database, under a purpose that names the archive. Without the key an archive is noise, so that
//! destroying a tenant's keys destroys its archives wherever copies of them lie.
//!
//! A name is for one attempt. Who tries again takes a new [`ArchiveId`] and a new key, and deletes the old name:
//! two attempts that overlap (a replica that was stopped, and its successor) can then never touch each other's
//! object.
//!
//! This module must never hold more of a stream than a few parts of it, keep a key, or yield a byte that was not
//! authenticated.

#[cfg(feature = "s3")]
mod bucket;
mod chunks;
mod cipher;
mod location;
mod store;

use std::io;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use chunks::Chunks;
pub use cipher::ArchiveKey;
use cipher::{CHUNK, HEADER, Opener, SEALED_CHUNK, Sealer};
use futures::{StreamExt, stream, stream::BoxStream};
pub use location::{Bucket, Location};
pub use store::{Store, Stored};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::io::{InspectReader, StreamReader};

use crate::{
    error::{Error, Result},
    types::{ArchiveId, TenantId},
};

/// Which archive, and whose. Both are sealed into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ArchiveName {
    /// The tenant whose data it holds.
    pub tenant: TenantId,
    /// The archive.
    pub archive: ArchiveId,
}

/// What was stored and found to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes that were read from the source.
    pub bytes_plain: u64,
    /// Bytes in the store.
    pub bytes_stored: u64,
    /// SHA-256 of the stored bytes: finds damage without the key.
    pub sha256: [u8; 32],
}

/// Encrypts and stores what `source` yields, then reads it back: the digest must be the same, and every chunk
/// authentic. When it fails or is cancelled, nothing of that name stays in the store.
///
/// # Errors
/// `archive_store_unavailable`; `archive_damaged` when the store does not give back what it was given; what
/// `source` ended with.
pub async fn write(
    store: &Store,
    key: &ArchiveKey,
    name: ArchiveName,
    source: impl AsyncRead + Send + Unpin,
) -> Result<Written> {
    let mut draft = store.begin(name).await?;
    let outcome = async {
        let written = upload(&mut draft, key, name, source).await?;
        draft.complete().await?;
        verify(store, key, name, &written).await?;
        Ok(written)
    };
    match outcome.await {
        Ok(written) => {
            draft.keep();
            Ok(written)
        }
        Err(error) => {
            draft.discard().await;
            Err(error)
        }
    }
}

/// The archive's plaintext. The reader's errors are ours ([`Error::from_reader`]).
///
/// # Errors
/// `archive_not_found`, `archive_store_unavailable`; `archive_damaged`, here or from the reader.
pub async fn read(store: &Store, key: &ArchiveKey, name: ArchiveName) -> Result<impl AsyncRead + Send + Unpin + use<>> {
    open(store.read(name).await?, key, name).await
}

async fn upload(
    draft: &mut store::Draft,
    key: &ArchiveKey,
    name: ArchiveName,
    source: impl AsyncRead + Unpin,
) -> Result<Written> {
    let (mut sealer, header) = Sealer::begin(key, name)?;
    let mut tally = Tally::default();
    tally.add(&header);
    draft.append(Bytes::copy_from_slice(&header)).await?;
    let mut chunks = Chunks::new(source, CHUNK);
    let mut bytes_plain = 0;
    loop {
        let mut chunk = chunks.next().await.map_err(Error::from_reader)?;
        bytes_plain += length(&chunk.bytes);
        if chunk.is_last {
            sealer.seal_last(&mut chunk.bytes)?;
            tally.add(&chunk.bytes);
            draft.append(chunk.bytes.into()).await?;
            let (bytes_stored, sha256) = tally.end()?;
            return Ok(Written { bytes_plain, bytes_stored, sha256 });
        }
        sealer.seal(&mut chunk.bytes)?;
        tally.add(&chunk.bytes);
        draft.append(chunk.bytes.into()).await?;
    }
}

/// Reads the object back as [`read()`] would, and counts it as it lies there.
async fn verify(store: &Store, key: &ArchiveKey, name: ArchiveName, written: &Written) -> Result<()> {
    let mut tally = Tally::default();
    let stored = InspectReader::new(store.read(name).await?, |bytes| tally.add(bytes));
    let mut plain = open(stored, key, name).await?;
    let bytes_plain = tokio::io::copy(&mut plain, &mut tokio::io::sink()).await.map_err(Error::from_reader)?;
    drop(plain);
    let (bytes_stored, sha256) = tally.end()?;
    if (Written { bytes_plain, bytes_stored, sha256 }) == *written {
        return Ok(());
    }
    Err(cipher::damaged("the store gives back something else than it was given"))
}

type Pieces<'a> = StreamReader<BoxStream<'a, io::Result<Bytes>>, Bytes>;

async fn open<'a>(
    mut stored: impl AsyncRead + Send + Unpin + 'a,
    key: &ArchiveKey,
    name: ArchiveName,
) -> Result<Pieces<'a>> {
    let mut header = Vec::with_capacity(HEADER);
    let limit = u64::try_from(HEADER).map_err(Error::internal)?;
    (&mut stored).take(limit).read_to_end(&mut header).await.map_err(Error::from_reader)?;
    let opener = Opener::begin(key, name, &header)?;
    let state = Some((opener, Chunks::new(stored, SEALED_CHUNK)));
    let plain = stream::try_unfold(state, async |state| {
        let Some((mut opener, mut chunks)) = state else { return Ok(None) };
        let mut chunk = chunks.next().await?;
        if chunk.is_last {
            opener.open_last(&mut chunk.bytes).map_err(io::Error::other)?;
            return Ok(Some((Bytes::from(chunk.bytes), None)));
        }
        opener.open(&mut chunk.bytes).map_err(io::Error::other)?;
        Ok(Some((Bytes::from(chunk.bytes), Some((opener, chunks)))))
    });
    Ok(StreamReader::new(plain.boxed()))
}

/// Counts and digests stored bytes.
struct Tally {
    bytes: u64,
    digest: Context,
}

impl Default for Tally {
    fn default() -> Self {
        Self { bytes: 0, digest: Context::new(&SHA256) }
    }
}

impl Tally {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes += length(bytes);
        self.digest.update(bytes);
    }

    fn end(self) -> Result<(u64, [u8; 32])> {
        let digest = self.digest.finish().as_ref().try_into().map_err(Error::internal)?;
        Ok((self.bytes, digest))
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
