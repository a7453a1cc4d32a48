//! A file that a command writes what it downloads to.

use std::path::Path;

use anyhow::Context;
use tokio::fs::{self, File, OpenOptions};

/// Writes the file under another name first, so that a file of the name that was asked for is always whole. Only its
/// owner can read it.
pub(super) async fn write(
    to: &Path,
    download: impl AsyncFnOnce(&mut File) -> anyhow::Result<u64>,
) -> anyhow::Result<u64> {
    let mut unfinished = to.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).await;
    let mut file = file.with_context(|| format!("cannot make {}", Path::new(&unfinished).display()))?;
    match finish(&mut file, download).await {
        Ok(bytes) => {
            fs::rename(&unfinished, to).await?;
            Ok(bytes)
        }
        Err(error) => {
            fs::remove_file(&unfinished).await?;
            Err(error)
        }
    }
}

async fn finish(file: &mut File, download: impl AsyncFnOnce(&mut File) -> anyhow::Result<u64>) -> anyhow::Result<u64> {
    let bytes = download(file).await?;
    file.sync_all().await?;
    Ok(bytes)
}
