//! Finds the programs that `freehold dev` starts: PostgreSQL 15 or newer, and Redis if there is one.
//!
//! Looks only; installing is the business of `ops/setup`.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use tokio::process::Command;

/// The oldest PostgreSQL that Freehold works with (docs: isolation model).
const OLDEST_MAJOR: u32 = 15;

/// Folders of versioned installations: Debian, the PostgreSQL project's RPMs, Homebrew on both kinds of Mac and Linux.
const VERSIONED: [(&str, &str); 5] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/opt/homebrew/opt", "postgresql"),
    ("/usr/local/opt", "postgresql"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql"),
];

/// The folder with `postgres` and `initdb`, and the major version of them.
#[derive(Clone, Debug)]
pub(super) struct PostgresBinaries {
    folder: PathBuf,
    major: u32,
}

impl PostgresBinaries {
    /// `PG_BIN` if it is set; else what stands in `PATH`; else the newest installation in the usual folders.
    pub(super) async fn find() -> anyhow::Result<Self> {
        // Also when it is empty, as by a command in its place that has failed: another version would run unnoticed.
        if let Some(folder) = env::var_os("PG_BIN") {
            let folder = PathBuf::from(folder);
            return Self::inspect(&folder).await.with_context(|| {
                format!("PG_BIN={} does not hold PostgreSQL {OLDEST_MAJOR} or newer", folder.display())
            });
        }
        for folder in path_folders() {
            if let Ok(found) = Self::inspect(&folder).await {
                return Ok(found);
            }
        }
        let mut newest: Option<Self> = None;
        for folder in versioned_folders() {
            if let Ok(found) = Self::inspect(&folder).await
                && newest.as_ref().is_none_or(|best| found.major > best.major)
            {
                newest = Some(found);
            }
        }
        newest.with_context(|| {
            format!(
                "found no PostgreSQL {OLDEST_MAJOR} or newer (postgres and initdb): install it (./ops/run does), or set \
                 PG_BIN to the folder that holds them"
            )
        })
    }

    async fn inspect(folder: &Path) -> anyhow::Result<Self> {
        let found = Self { folder: folder.to_owned(), major: 0 };
        if !found.program("initdb").is_file() {
            bail!("there is no initdb in {}", folder.display());
        }
        let output = Command::new(found.program("postgres")).arg("--version").output().await?;
        let text = String::from_utf8_lossy(&output.stdout);
        let major = major_version(&text).with_context(|| format!("cannot tell the version from {text:?}"))?;
        if major < OLDEST_MAJOR {
            bail!("{} holds PostgreSQL {major}", folder.display());
        }
        Ok(Self { major, ..found })
    }

    /// The path of one program.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// 15, 16, …
    pub(super) fn major(&self) -> u32 {
        self.major
    }
}

/// The path of `redis-server` (or its fork under another name), if there is one.
pub(super) fn redis_server() -> Option<PathBuf> {
    let places = path_folders().chain(["/opt/homebrew/bin", "/usr/local/bin", "/usr/sbin"].map(PathBuf::from));
    places
        .flat_map(|folder| ["redis-server", "valkey-server"].map(|name| folder.join(name)))
        .find(|program| program.is_file())
}

fn path_folders() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).collect::<Vec<_>>().into_iter()
}

fn versioned_folders() -> impl Iterator<Item = PathBuf> {
    VERSIONED.iter().flat_map(|(parent, prefix)| {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        entries
            .filter(move |entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|entry| entry.path().join("bin"))
    })
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian …)`, pre-releases (`18beta1`) included.
fn major_version(text: &str) -> Option<u32> {
    let number = text.split("(PostgreSQL)").nth(1)?.trim_start();
    let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_every_vendors_text() {
        assert_eq!(major_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major_version("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major_version("redis-server v=7"), None);
    }
}
