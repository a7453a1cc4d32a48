//! Where archives are kept: a folder, or an S3 bucket. Names in, bytes out; every call is bounded in time.
//!
//! An object appears whole or not at all. What is being written is a [`Draft`]: dropped before it is kept, for
//! whatever reason, it takes itself away. Only what this very draft has put there is removed: a replica that wakes
//! up late must not delete what its successor has written.

use std::{
    fmt,
    io::{self, ErrorKind},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use object_store::{
    ObjectMeta, ObjectStore, ObjectStoreExt, WriteMultipart, local::LocalFileSystem, path::Path as ObjectPath,
};
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use super::{ArchiveName, Bucket, Location};
use crate::{
    error::{Error, Result},
    types::TenantId,
};

/// Asking for something, or for its next piece.
const CALL: Duration = Duration::from_secs(30);
/// Sending one part: at least 140 kB a second.
const PART_TIMEOUT: Duration = Duration::from_mins(1);
/// Making an object out of its parts; a bucket may take minutes for thousands of them.
const COMPLETE: Duration = Duration::from_mins(5);
/// Buckets take parts from 5 MiB on and at most 10,000 of them, all of one size: an object ends at 80 GB.
const PART: usize = 8 * 1024 * 1024;
/// Parts on their way while the next one fills: this and one more part is what a write holds in memory.
const PARTS_UNDER_WAY: usize = 1;

/// Where archives are kept. Clones share connections.
#[derive(Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    /// The folder, if it is one.
    folder: Option<PathBuf>,
}

/// An archive that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Whose it is, and which.
    pub name: ArchiveName,
    /// Its size in bytes.
    pub bytes: u64,
}

impl Store {
    /// Opens the store. A folder is made if it is missing, for its owner alone; a bucket is not contacted.
    ///
    /// # Errors
    /// Internal, when the folder cannot be made or the bucket's settings make no client.
    pub fn open(location: &Location) -> Result<Self> {
        match location {
            Location::Folder(folder) => Self::in_folder(folder),
            Location::Bucket(bucket) => Self::in_bucket(bucket),
        }
    }

    #[cfg(feature = "s3")]
    fn in_bucket(bucket: &Bucket) -> Result<Self> {
        let prefix = ObjectPath::from(bucket.prefix.as_str());
        let objects = object_store::prefix::PrefixStore::new(super::bucket::client(bucket)?, prefix);
        Ok(Self { objects: Arc::new(objects), folder: None })
    }

    #[cfg(not(feature = "s3"))]
    fn in_bucket(bucket: &Bucket) -> Result<Self> {
        Err(Error::defect(format!("the bucket {} needs a program that was built with the feature s3", bucket.name)))
    }

    fn in_folder(folder: &Path) -> Result<Self> {
        let unusable = |error: io::Error| {
            Error::internal(anyhow::Error::new(error).context(format!("the archives' folder {}", folder.display())))
        };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
        let folder = std::fs::canonicalize(folder).map_err(unusable)?;
        let objects = LocalFileSystem::new_with_prefix(&folder).map_err(|error| refused(error, "open"))?;
        // What is said to be written must survive a power cut: its source is dropped next.
        let objects = objects.with_fsync(true).with_automatic_cleanup(true);
        Ok(Self { objects: Arc::new(objects), folder: Some(folder) })
    }

    /// Removes the archive, and what a killed attempt at writing it has left; what is not there is fine. A bucket
    /// keeps the parts of a killed attempt until its own rule for unfinished uploads removes them.
    ///
    /// # Errors
    /// `archive_store_unavailable`.
    pub async fn delete(&self, name: ArchiveName) -> Result<()> {
        let path = name.path();
        if let Some(folder) = &self.folder {
            remove_unfinished(folder, &path).await.map_err(|error| unavailable(anyhow::Error::new(error)))?;
        }
        match bounded(CALL, "delete", self.objects.delete(&path)).await {
            Err(Error::NotFound { .. }) => Ok(()),
            deleted => deleted,
        }
    }

    /// Removes the folder of a tenant that has no archive any more. A bucket has none; one that holds something else
    /// stays.
    ///
    /// # Errors
    /// `archive_store_unavailable`.
    pub async fn forget(&self, tenant: TenantId) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        match tokio::fs::remove_dir(folder.join(folder_of(tenant).as_ref())).await {
            Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {
                Err(unavailable(anyhow::Error::new(error)))
            }
            _ => Ok(()),
        }
    }

    /// All archives, or those of one tenant. What else lies in the store is passed over.
    ///
    /// # Errors
    /// Each item may be `archive_store_unavailable`; then there are no more.
    pub fn list(&self, tenant: Option<TenantId>) -> impl Stream<Item = Result<Stored>> + Send + Unpin + use<> {
        let found = self.objects.list(tenant.map(folder_of).as_ref());
        let items = stream::try_unfold(found, async |mut found| {
            let next = bounded(CALL, "list", async { found.next().await.transpose() }).await?;
            Ok(next.map(|object| (object, found)))
        });
        let archives = items.try_filter_map(async |object: ObjectMeta| {
            let name = ArchiveName::from_path(&object.location);
            Ok(name.map(|name| Stored { name, bytes: object.size }))
        });
        archives.boxed()
    }

    /// The stored bytes, as they lie there.
    pub(super) async fn read(&self, name: ArchiveName) -> Result<impl AsyncRead + Send + Unpin + use<>> {
        let found = bounded(CALL, "get", self.objects.get(&name.path())).await?;
        let pieces = stream::try_unfold(found.into_stream(), async |mut pieces| {
            let next = bounded(CALL, "read", async { pieces.next().await.transpose() }).await;
            Ok::<_, io::Error>(next.map_err(io::Error::other)?.map(|piece| (piece, pieces)))
        });
        Ok(StreamReader::new(pieces.boxed()))
    }

    /// Begins to write an archive of this name.
    ///
    /// # Errors
    /// Internal, when there is one of this name already: a name is for one attempt.
    pub(super) async fn begin(&self, name: ArchiveName) -> Result<Draft> {
        let path = name.path();
        match bounded(CALL, "head", self.objects.head(&path)).await {
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(Error::defect(format!("there is an archive {path} already"))),
        }
        let upload = bounded(CALL, "begin", self.objects.put_multipart(&path)).await?;
        let upload = WriteMultipart::new_with_chunk_size(upload, PART);
        Ok(Draft { store: self.clone(), name, state: State::Uploading(upload) })
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("objects", &self.objects.to_string()).finish_non_exhaustive()
    }
}

/// An archive that is being written; see the module.
pub(super) struct Draft {
    store: Store,
    name: ArchiveName,
    state: State,
}

enum State {
    /// Parts are under way; nobody sees them.
    Uploading(WriteMultipart),
    /// The object is there, and may yet turn out to be wrong.
    Complete,
    /// Nothing to take away.
    Settled,
}

impl Draft {
    /// Adds bytes, once there is room for them.
    pub(super) async fn append(&mut self, bytes: Bytes) -> Result<()> {
        let State::Uploading(upload) = &mut self.state else {
            return Err(Error::defect("an archive that is complete was written to"));
        };
        bounded(PART_TIMEOUT, "put", upload.wait_for_capacity(PARTS_UNDER_WAY)).await?;
        upload.put(bytes);
        Ok(())
    }

    /// Makes the object appear.
    pub(super) async fn complete(&mut self) -> Result<()> {
        // From here on the object may be there, also when this is cancelled or fails.
        let State::Uploading(upload) = std::mem::replace(&mut self.state, State::Complete) else {
            return Err(Error::defect("an archive was completed twice"));
        };
        bounded(COMPLETE, "complete", upload.finish()).await.map(drop)
    }

    /// The archive is good: it stays.
    pub(super) fn keep(mut self) {
        self.state = State::Settled;
    }

    /// Takes away what was written. What cannot be is logged; the caller's own error is the one that matters.
    pub(super) async fn discard(mut self) {
        let state = std::mem::replace(&mut self.state, State::Settled);
        clear(self.store.clone(), self.name, state).await;
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Settled);
        if let (false, Ok(runtime)) = (matches!(state, State::Settled), tokio::runtime::Handle::try_current()) {
            runtime.spawn(clear(self.store.clone(), self.name, state));
        }
    }
}

async fn clear(store: Store, name: ArchiveName, state: State) {
    let cleared = match state {
        State::Uploading(upload) => bounded(CALL, "abort", upload.abort()).await,
        State::Complete => store.delete(name).await,
        State::Settled => Ok(()),
    };
    if let Err(error) = cleared {
        tracing::warn!(archive.id = %name.archive, error = error.chain(), "an unfinished archive is left behind");
    }
}

/// The folder of a tenant's archives.
fn folder_of(tenant: TenantId) -> ObjectPath {
    ObjectPath::from(tenant.to_string())
}

impl ArchiveName {
    fn path(self) -> ObjectPath {
        folder_of(self.tenant).join(format!("{}{SUFFIX}", self.archive))
    }

    fn from_path(path: &ObjectPath) -> Option<Self> {
        let (tenant, file) = path.as_ref().split_once('/')?;
        Some(Self { tenant: tenant.parse().ok()?, archive: file.strip_suffix(SUFFIX)?.parse().ok()? })
    }
}

const SUFFIX: &str = ".archive";

/// While it is written, a file's name ends in `#` and a number; a process that is killed leaves it.
async fn remove_unfinished(folder: &Path, path: &ObjectPath) -> io::Result<()> {
    for number in 1.. {
        match tokio::fs::remove_file(folder.join(format!("{path}#{number}"))).await {
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            removed => removed?,
        }
    }
    Ok(())
}

async fn bounded<T>(
    limit: Duration,
    call: &'static str,
    work: impl Future<Output = object_store::Result<T>>,
) -> Result<T> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(|error| refused(error, call)),
        Err(_) => Err(unavailable(anyhow::anyhow!("{call} took longer than {limit:?}"))),
    }
}

/// What heals by itself is most of what can go wrong here: disks fill and empty, networks and credentials come back.
fn refused(error: object_store::Error, call: &'static str) -> Error {
    use object_store::Error as Cause;
    match error {
        Cause::NotFound { .. } => {
            Error::NotFound { code: "archive_not_found", detail: "the archive is not in the archive store".to_owned() }
        }
        Cause::InvalidPath { .. } | Cause::NotSupported { .. } | Cause::NotImplemented { .. } => Error::internal(error),
        _ => unavailable(anyhow::Error::new(error).context(call)),
    }
}

fn unavailable(cause: anyhow::Error) -> Error {
    Error::unavailable("archive_store_unavailable", "the archive store cannot be used at the moment", cause)
}
