//! One `freehold dev` a folder: two would fight over the same clusters.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::Write,
    path::Path,
    process,
};

use anyhow::{Context, bail};

/// Held for as long as the environment runs. The system frees it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// The name of the file in the folder.
    pub(super) const FILE_NAME: &str = "lock";

    /// Takes the lock of `folder`, or says who has it.
    pub(super) fn acquire(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(Self::FILE_NAME);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&path).unwrap_or_default();
                bail!(
                    "another `freehold dev` (process {}) runs in {}: stop it with Ctrl-C, or use another folder",
                    holder.trim(),
                    folder.display()
                );
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        file.set_len(0)?;
        writeln!(file, "{}", process::id())?;
        Ok(Self { _file: file })
    }
}
