//! Mails that are written into a folder rather than sent: one file a mail, named after its job.

use std::path::PathBuf;

use tokio::{
    fs::{self, OpenOptions},
    io::AsyncWriteExt,
};

use super::message::Packed;
use crate::{
    error::{Error, Result},
    types::JobId,
};

/// A folder for mails.
#[derive(Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Writes a mail. A file appears whole or not at all; the second time it takes the place of the first.
    pub(super) async fn write(&self, job: JobId, message: &Packed) -> Result<()> {
        let away = |error: std::io::Error| {
            let detail = "the folder for mails cannot be written to";
            Error::unavailable("mail_unavailable", detail, anyhow::Error::from(error))
        };
        // They hold what gives access: nobody else reads them.
        let (whole, part) = (self.0.join(format!("{job}.eml")), self.0.join(format!(".{job}.part")));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part).await.map_err(away)?;
        file.write_all(&message.bytes).await.map_err(away)?;
        file.flush().await.map_err(away)?;
        fs::rename(&part, &whole).await.map_err(away)
    }
}
