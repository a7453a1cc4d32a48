//! Where the dev servers keep their files, and as whom they run.
//!
//! PostgreSQL refuses to run as root. When Freehold does, its servers run as `postgres` (or `nobody`) and own
//! their data. That account must be able to reach the folder: a checkout below `/root` is closed to it, so the
//! data then lies in `/var/tmp`, in a folder named after the checkout's path, and stays the same from run to run.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, bail};
use tokio::process::Command;

/// Whom the servers run as when Freehold runs as root, best first.
const ACCOUNTS: [&str; 2] = ["postgres", "nobody"];

/// Where data lies when the folder itself is out of the account's reach.
const FALLBACK_PARENT: &str = "/var/tmp";

/// An account that servers are dropped to.
#[derive(Clone, Copy, Debug)]
struct Account {
    uid: u32,
    gid: u32,
}

/// A folder for servers' files, with the account that owns them if it is not the present one.
#[derive(Clone, Debug)]
pub(super) struct Place {
    folder: PathBuf,
    account: Option<Account>,
}

impl Place {
    /// The place for `folder`, made if missing: the folder itself or, out of reach of the account, its stand-in.
    pub(super) async fn of(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let folder = fs::canonicalize(folder)?;
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { folder, account: None });
        }
        let account = Account::find().await?;
        let folder = if account.reaches(&folder)? { folder } else { stand_in(&folder)? };
        Ok(Self { folder, account: Some(account) })
    }

    /// Where files lie.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The same account, one folder deeper; made if missing. Its own entries belong to the present user.
    pub(super) fn within(&self, name: &str) -> anyhow::Result<Self> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(Self { folder, account: self.account })
    }

    /// A folder that only the servers' account can read; made if missing.
    pub(super) fn private_folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join(name);
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => self.give(&folder),
        }
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(folder)
    }

    /// Makes the servers' account the owner of a file or folder.
    pub(super) fn give(&self, path: &Path) -> std::io::Result<()> {
        self.account.map_or(Ok(()), |account| chown(path, Some(account.uid), Some(account.gid)))
    }

    /// Whether the servers' account can run `program`: as root, one in a folder that is closed to the account is found
    /// and cannot be started.
    pub(super) async fn check_runs(&self, program: &Path) -> anyhow::Result<()> {
        let said = self.command(program).arg("--version").output().await.map(|output| output.status.success());
        if !matches!(said, Ok(true)) {
            bail!(
                "{} cannot be run by the account that the servers run as: let every user read and enter its folder, or \
                 set PG_BIN to another one",
                program.display()
            );
        }
        Ok(())
    }

    /// A command that runs as the servers' account, in a process group of its own: a Ctrl-C in the terminal goes
    /// to Freehold alone, which needs its databases until the last request is answered.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).stdin(Stdio::null()).process_group(0);
        if let Some(account) = self.account {
            command.uid(account.uid).gid(account.gid);
        }
        command
    }
}

impl Account {
    async fn find() -> anyhow::Result<Self> {
        for name in ACCOUNTS {
            if let (Some(uid), Some(gid)) = (id_of(name, "-u").await, id_of(name, "-g").await) {
                return Ok(Self { uid, gid });
            }
        }
        bail!(
            "PostgreSQL refuses to run as root, and there is none of the users {} to run it as: add one, or run as \
             another user",
            ACCOUNTS.join(", ")
        )
    }

    /// Whether every folder from the root down lets this account through.
    fn reaches(self, folder: &Path) -> anyhow::Result<bool> {
        for step in folder.ancestors() {
            let metadata = fs::metadata(step).with_context(|| format!("cannot look at {}", step.display()))?;
            let may_pass = match () {
                () if metadata.uid() == self.uid => 0o100,
                () if metadata.gid() == self.gid => 0o010,
                () => 0o001,
            };
            if metadata.mode() & may_pass == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

async fn id_of(name: &str, flag: &str) -> Option<u32> {
    let output = Command::new("id").args([flag, name]).stderr(Stdio::null()).output().await.ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// Where the data of a folder that the account cannot reach lies. Everybody may write to `/var/tmp`, so what
/// is there already is used only if it is root's own.
fn stand_in(folder: &Path) -> anyhow::Result<PathBuf> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, folder.as_os_str().as_encoded_bytes());
    let name = digest.as_ref().iter().take(8).fold(String::from("freehold-"), |name, byte| format!("{name}{byte:02x}"));
    let stand_in = Path::new(FALLBACK_PARENT).join(name);
    if let Err(error) = fs::create_dir(&stand_in)
        && error.kind() != ErrorKind::AlreadyExists
    {
        return Err(error).with_context(|| format!("cannot make the folder {}", stand_in.display()));
    }
    let metadata = fs::symlink_metadata(&stand_in)?;
    if !metadata.is_dir() || metadata.uid() != 0 {
        bail!("{} is not a folder of root's: remove it, or use a folder that every user can reach", stand_in.display());
    }
    fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755))?;
    Ok(stand_in)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Random;

    #[tokio::test]
    async fn a_folder_out_of_the_accounts_reach_gets_a_stand_in_that_stays_the_same() {
        let closed = std::env::temp_dir().join(format!("freehold-place-{}", Random.token()));
        fs::DirBuilder::new().mode(0o700).create(&closed).unwrap();
        let folder = closed.join("checkout");
        let place = Place::of(&folder).await.unwrap();
        assert_eq!(Place::of(&folder).await.unwrap().folder(), place.folder());
        if rustix::process::geteuid().is_root() {
            assert_eq!(place.folder().parent(), Some(Path::new(FALLBACK_PARENT)));
            fs::remove_dir_all(place.folder()).unwrap();
        } else {
            assert_eq!(place.folder(), fs::canonicalize(&folder).unwrap());
        }
        fs::remove_dir_all(&closed).unwrap();
    }

    #[tokio::test]
    async fn a_program_that_the_account_cannot_run_is_named() {
        let folder = std::env::temp_dir().join(format!("freehold-place-{}", Random.token()));
        let place = Place::of(&folder).await.unwrap();
        place.check_runs(Path::new("/bin/true")).await.unwrap();
        place.check_runs(Path::new("/bin/false")).await.unwrap_err();
        fs::DirBuilder::new().mode(0o700).create(folder.join("closed")).unwrap();
        let program = folder.join("closed/true");
        fs::copy("/bin/true", &program).unwrap();
        let runs = place.check_runs(&program).await;
        assert_eq!(runs.is_err(), rustix::process::geteuid().is_root(), "{runs:?}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
