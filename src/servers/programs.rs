//! Finds PostgreSQL's own programs on this machine. Looks only; installing is the operator's business.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;

/// How long a program may take to say its version.
const ANSWER: Duration = Duration::from_secs(5);

/// Folders of versioned installations: Debian, the PostgreSQL project's RPMs, Homebrew on both kinds of Mac and Linux.
const VERSIONED: [(&str, &str); 5] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/opt/homebrew/opt", "postgresql"),
    ("/usr/local/opt", "postgresql"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql"),
];

/// A folder with some of PostgreSQL's programs, and the major version of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    folder: PathBuf,
    major: i32,
}

impl Programs {
    /// The programs in `folder`, if all of `names` are there and the first of them tells its version.
    pub async fn inspect(folder: &Path, names: &[&str]) -> Option<Self> {
        if !names.iter().all(|name| folder.join(name).is_file()) {
            return None;
        }
        let mut version = Command::new(folder.join(names.first()?));
        bare_environment(&mut version);
        version.arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(ANSWER, version.output()).await.ok()?.ok()?;
        let major = major_version(&String::from_utf8_lossy(&output.stdout))?;
        Some(Self { folder: folder.to_owned(), major })
    }

    /// Where they are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of one program.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// 15, 16, …
    #[must_use]
    pub const fn major(&self) -> i32 {
        self.major
    }
}

/// Takes this process' environment from a program that it starts: there are secrets in it.
pub(super) fn bare_environment(command: &mut Command) {
    command.env_clear().env("LC_ALL", "C");
    // PostgreSQL may stand in a folder of its own, with its libraries beside it.
    command.envs(env::var_os("LD_LIBRARY_PATH").map(|folders| ("LD_LIBRARY_PATH", folders)));
}

/// The folders in `PATH`, in its order.
#[must_use]
pub fn path_folders() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).collect()
}

/// The folders in which packages install PostgreSQL, those of this machine.
#[must_use]
pub fn usual_folders() -> Vec<PathBuf> {
    let installations = VERSIONED.iter().flat_map(|(parent, prefix)| {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        entries
            .filter(move |entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|entry| entry.path().join("bin"))
    });
    installations.collect()
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian …)`, pre-releases (`18beta1`) included.
fn major_version(text: &str) -> Option<i32> {
    let number = text.split("(PostgreSQL)").nth(1)?.trim_start();
    let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_program_that_is_asked_for_its_version_gets_nothing_of_this_environment() {
        let folder = env::temp_dir().join(format!("freehold-programs-{}", crate::types::Random.token()));
        fs::create_dir(&folder).unwrap();
        let told = "#!/bin/sh\nenv > \"${0%/*}/environment\"\necho 'pg_dump (PostgreSQL) 15.18'\n";
        fs::write(folder.join("pg_dump"), told).unwrap();
        fs::set_permissions(folder.join("pg_dump"), fs::Permissions::from_mode(0o700)).unwrap();
        let found = Programs::inspect(&folder, &["pg_dump"]).await.map(|programs| programs.major());
        let environment = fs::read_to_string(folder.join("environment")).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found, Some(15));
        assert!(env::var_os("HOME").is_some() && !environment.contains("HOME="), "{environment}");
    }

    #[test]
    fn the_major_version_is_read_from_every_vendors_text() {
        assert_eq!(major_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major_version("pg_dump (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major_version("redis-server v=7"), None);
    }
}
