//! The passwords of one dev server: made once, kept beside its data in a file that only its owner can read.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use secrecy::SecretString;

use crate::types::Random;

/// Random passwords by role name.
pub(super) struct Credentials {
    path: PathBuf,
    passwords: BTreeMap<String, SecretString>,
}

impl Credentials {
    /// Reads the file at `path`, or makes it with a password for each of `names`.
    pub(super) fn load_or_make(path: PathBuf, names: &[&str]) -> anyhow::Result<Self> {
        if !path.exists() {
            let made: BTreeMap<_, _> = names.iter().map(|name| (*name, Random.token())).collect();
            write_private(&path, &serde_json::to_vec_pretty(&made)?)?;
        }
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let passwords = serde_json::from_slice(&text)
            .with_context(|| format!("{} is damaged: start again with --reset", path.display()))?;
        Ok(Self { path, passwords })
    }

    /// The password of one role.
    pub(super) fn password(&self, name: &str) -> anyhow::Result<&SecretString> {
        let Some(password) = self.passwords.get(name) else {
            bail!("{} holds no password for {name}: start again with --reset", self.path.display());
        };
        Ok(password)
    }
}

/// Writes a file that only its owner can read; whole or not at all, so that a kill leaves no half of it.
pub(super) fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let draft = path.with_extension("draft");
    let write = || {
        // A draft of a killed run may belong to another account: mode and owner are those of a new file.
        if draft.exists() {
            fs::remove_file(&draft)?;
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(content)?;
        fs::rename(&draft, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
