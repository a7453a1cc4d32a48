//! Streams through a folder of their own: what comes back, what is refused, what is left behind.

use std::{
    fs,
    path::PathBuf,
    pin::Pin,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use proptest::prelude::*;
use tokio::io::ReadBuf;

use super::*;
use crate::types::{Clock, Random};

/// A store in a folder that ends with the test.
struct Scratch {
    folder: PathBuf,
    store: Store,
}

impl Scratch {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("freehold-archives-{}", Random.token()));
        let store = Store::open(&Location::Folder(folder.clone())).unwrap();
        Self { folder, store }
    }

    /// The only archive's file.
    fn file(&self, name: ArchiveName) -> PathBuf {
        self.folder.join(name.tenant.to_string()).join(format!("{}.archive", name.archive))
    }

    /// Every file in the folder.
    fn files(&self) -> Vec<PathBuf> {
        let folders = fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().path());
        folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path())).collect()
    }

    async fn until_empty(&self) {
        for _ in 0..100 {
            if self.files().is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("left behind: {:?}", self.files());
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

fn name() -> ArchiveName {
    let clock = Clock::default();
    ArchiveName { tenant: TenantId::generate(&clock, Random), archive: ArchiveId::generate(&clock, Random) }
}

/// Bytes that do not repeat within a chunk.
fn data(length: usize) -> Vec<u8> {
    (0_u64..).flat_map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15)).to_le_bytes()).take(length).collect()
}

async fn read_all(store: &Store, key: &ArchiveKey, name: ArchiveName) -> Result<Vec<u8>> {
    let mut reader = read(store, key, name).await?;
    let mut all = Vec::new();
    reader.read_to_end(&mut all).await.map_err(Error::from_reader)?;
    Ok(all)
}

/// The header and the sealed chunks of `plain`.
fn sealed(key: &ArchiveKey, name: ArchiveName, plain: &[u8]) -> Vec<Vec<u8>> {
    let (mut sealer, header) = Sealer::begin(key, name).unwrap();
    let mut parts = vec![header.to_vec()];
    let mut chunks: Vec<_> = plain.chunks(CHUNK).map(<[u8]>::to_vec).collect();
    let mut last = chunks.pop().unwrap_or_default();
    for mut chunk in chunks {
        sealer.seal(&mut chunk).unwrap();
        parts.push(chunk);
    }
    sealer.seal_last(&mut last).unwrap();
    parts.push(last);
    parts
}

async fn opened(key: &ArchiveKey, name: ArchiveName, stored: &[u8]) -> (Vec<u8>, Result<()>) {
    let mut plain = Vec::new();
    let outcome = async {
        let mut reader = open(stored, key, name).await?;
        reader.read_to_end(&mut plain).await.map_err(Error::from_reader)
    };
    let outcome = outcome.await.map(drop);
    (plain, outcome)
}

/// That `stored` is refused, and that all that came out of it before is the beginning of `plain`.
async fn refused(what: &str, key: &ArchiveKey, name: ArchiveName, (stored, plain): (&[u8], &[u8])) {
    let (got, outcome) = opened(key, name, stored).await;
    assert_eq!(outcome.expect_err(what).code(), "archive_damaged", "{what}");
    assert!(plain.starts_with(&got), "{what}: something was yielded that was never written");
}

#[tokio::test]
async fn what_was_written_comes_back_and_is_found_in_the_list() {
    let scratch = Scratch::new();
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 20_000_000] {
        let (key, name, plain) = (ArchiveKey::generate(Random), name(), data(length));
        let written = write(&scratch.store, &key, name, plain.as_slice()).await.unwrap();
        let stored = fs::read(scratch.file(name)).unwrap();
        assert_eq!(written.bytes_plain, length as u64);
        assert_eq!(written.bytes_stored, stored.len() as u64);
        assert_eq!(written.sha256, aws_lc_rs::digest::digest(&SHA256, &stored).as_ref());
        assert!(read_all(&scratch.store, &key, name).await.unwrap() == plain, "{length} bytes");
        let listed: Vec<_> = scratch.store.list(Some(name.tenant)).map(|found| found.unwrap()).collect().await;
        assert_eq!(listed, [Stored { name, bytes: written.bytes_stored }]);
    }
    assert_eq!(scratch.store.list(None).count().await, 7);
}

#[tokio::test]
async fn the_list_passes_over_what_is_no_archive() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.folder.join("ten_nobody")).unwrap();
    fs::write(scratch.folder.join("ten_nobody/readme.txt"), "not ours").unwrap();
    assert_eq!(scratch.store.list(None).count().await, 0);
}

#[tokio::test]
async fn a_tenant_without_archives_has_no_folder_and_nothing_else_is_removed() {
    let scratch = Scratch::new();
    let (left, kept) = (name(), name());
    let folder = |name: ArchiveName| scratch.file(name).parent().unwrap().to_owned();
    fs::create_dir(folder(left)).unwrap();
    write(&scratch.store, &ArchiveKey::generate(Random), kept, &b"x"[..]).await.unwrap();
    for tenant in [left.tenant, kept.tenant, name().tenant] {
        scratch.store.forget(tenant).await.unwrap();
    }
    assert!(!folder(left).exists() && scratch.file(kept).exists());
}

#[tokio::test]
async fn the_folder_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    assert_eq!(fs::metadata(&scratch.folder).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn another_key_tenant_or_name_opens_nothing() {
    let (key, own, plain) = (ArchiveKey::generate(Random), name(), data(CHUNK + 9));
    let stored = sealed(&key, own, &plain).concat();
    assert_eq!(opened(&key, own, &stored).await.0, plain);
    let other = name();
    for wrong in [ArchiveName { tenant: other.tenant, ..own }, ArchiveName { archive: other.archive, ..own }] {
        refused("another name", &key, wrong, (&stored, &[])).await;
    }
    refused("another key", &ArchiveKey::generate(Random), own, (&stored, &[])).await;
}

#[tokio::test]
async fn chunks_that_are_missing_moved_repeated_or_added_are_refused() {
    let (key, name, plain) = (ArchiveKey::generate(Random), name(), data(4 * CHUNK + 100));
    let parts = sealed(&key, name, &plain);
    let take = |order: &[usize]| order.iter().flat_map(|part| parts[*part].clone()).collect::<Vec<_>>();
    let other = sealed(&key, name, &plain);
    for (what, order) in [
        ("the last chunk is missing", &[0, 1, 2, 3, 4][..]),
        ("a chunk in the middle is missing", &[0, 1, 3, 4, 5]),
        ("two chunks have changed places", &[0, 2, 1, 3, 4, 5]),
        ("a chunk is there twice", &[0, 1, 1, 2, 3, 4, 5]),
        ("the last chunk is there twice", &[0, 1, 2, 3, 4, 5, 5]),
        ("nothing but the header", &[0]),
        ("nothing at all", &[]),
        ("no header", &[1, 2, 3, 4, 5]),
    ] {
        refused(what, &key, name, (&take(order), &plain)).await;
    }
    let mixed = [&parts[0], &parts[1], &other[2], &parts[3], &parts[4], &parts[5]].map(Vec::as_slice).concat();
    refused("a chunk of another writing", &key, name, (&mixed, &plain)).await;
    let trailing = [parts.concat(), vec![0]].concat();
    refused("a byte more", &key, name, (&trailing, &plain)).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed(length in 0..3 * CHUNK, at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (key, name, plain) = (ArchiveKey::generate(Random), name(), data(length));
        let stored = sealed(&key, name, &plain).concat();
        let at = at.index(stored.len());
        let mut flipped = stored.clone();
        flipped[at] ^= 1 << bit;
        runtime.block_on(refused("a flipped bit", &key, name, (&flipped, &plain)));
        runtime.block_on(refused("a cut", &key, name, (&stored[..at], &plain)));
        prop_assert_eq!(runtime.block_on(opened(&key, name, &stored)).0, plain);
    }
}

/// Yields some bytes, then fails or says nothing any more.
struct Broken {
    left: usize,
    hangs: bool,
}

impl AsyncRead for Broken {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left == 0 {
            let error = io::Error::other(Error::conflict("broken_source", "the source is broken"));
            return if self.hangs { Poll::Pending } else { Poll::Ready(Err(error)) };
        }
        let length = buffer.remaining().min(self.left);
        buffer.put_slice(&vec![1; length]);
        self.left -= length;
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_source_that_fails_leaves_nothing_and_its_error_comes_through() {
    let scratch = Scratch::new();
    let source = Broken { left: 30_000_000, hangs: false };
    let refused = write(&scratch.store, &ArchiveKey::generate(Random), name(), source).await.unwrap_err();
    assert_eq!(refused.code(), "broken_source");
    assert_eq!(scratch.files(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_cancelled_write_leaves_nothing() {
    let scratch = Scratch::new();
    let (key, source) = (ArchiveKey::generate(Random), Broken { left: 30_000_000, hangs: true });
    let writing = write(&scratch.store, &key, name(), source);
    assert!(tokio::time::timeout(Duration::from_millis(500), writing).await.is_err());
    scratch.until_empty().await;
}

#[tokio::test]
async fn what_a_killed_process_leaves_is_not_listed_and_goes_with_the_name() {
    let scratch = Scratch::new();
    let (key, name) = (ArchiveKey::generate(Random), name());
    let mut draft = scratch.store.begin(name).await.unwrap();
    draft.append(Bytes::from(data(20_000_000))).await.unwrap();
    // A killed process drops nothing.
    std::mem::forget(draft);
    assert_eq!(scratch.files().len(), 1);
    assert_eq!(scratch.store.list(None).count().await, 0);
    assert_eq!(read_all(&scratch.store, &key, name).await.unwrap_err().code(), "archive_not_found");
    scratch.store.delete(name).await.unwrap();
    assert_eq!(scratch.files(), Vec::<PathBuf>::new());
    scratch.store.delete(name).await.unwrap();
}

#[tokio::test]
async fn a_name_is_written_once_and_a_second_attempt_spares_the_first() {
    let scratch = Scratch::new();
    let (key, name) = (ArchiveKey::generate(Random), name());
    write(&scratch.store, &key, name, data(100).as_slice()).await.unwrap();
    assert!(write(&scratch.store, &key, name, data(200).as_slice()).await.is_err());
    assert_eq!(read_all(&scratch.store, &key, name).await.unwrap(), data(100));
}

#[tokio::test]
async fn a_store_that_gives_back_something_else_is_found_out() {
    let scratch = Scratch::new();
    let (key, name) = (ArchiveKey::generate(Random), name());
    let mut written = write(&scratch.store, &key, name, data(1_000_000).as_slice()).await.unwrap();
    written.sha256[0] ^= 1;
    assert_eq!(verify(&scratch.store, &key, name, &written).await.unwrap_err().code(), "archive_damaged");
    fs::write(scratch.file(name), b"freehold archive").unwrap();
    assert_eq!(read_all(&scratch.store, &key, name).await.unwrap_err().code(), "archive_damaged");
}

#[test]
fn a_key_is_not_shown_and_survives_its_bytes() {
    use secrecy::ExposeSecret;
    let key = ArchiveKey::generate(Random);
    assert!(format!("{key:?}").contains("REDACTED"));
    assert_eq!(ArchiveKey::from_bytes(key.expose_secret()).unwrap().expose_secret(), key.expose_secret());
    assert!(ArchiveKey::from_bytes(&[0; 31]).is_err());
}
