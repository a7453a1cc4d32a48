//! Makes the data folder of a dev cluster and writes its settings.
//!
//! The folder appears under its real name only when it is whole: a run that is killed inside initdb leaves a
//! draft, which the next one throws away.

use std::{fs, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, bail};
use secrecy::{ExposeSecret, SecretString};
use tokio::process::Command;

use super::{cluster::SUPERUSER, credentials::write_private, place::Place};
use crate::servers::programs::Programs;

/// The name of the log in the cluster's folder `log/`.
pub(super) const LOG_FILE: &str = "postgresql.log";

/// Ours, included by `postgresql.conf`; written anew at every start.
const SETTINGS_FILE: &str = "freehold.conf";

const INITDB_TIMEOUT: Duration = Duration::from_mins(1);

/// Makes the folder `data` unless it is there; says so when it belongs to another version of PostgreSQL.
pub(super) async fn ensure(place: &Place, binaries: &Programs, password: &SecretString) -> anyhow::Result<()> {
    let data = place.folder().join("data");
    if data.exists() {
        return check_version(&data, binaries);
    }
    let draft = place.folder().join("data.draft");
    if draft.exists() {
        fs::remove_dir_all(&draft).with_context(|| format!("cannot remove {}", draft.display()))?;
    }
    place.private_folder("data.draft")?;
    let password_file = place.folder().join("initdb.password");
    write_private(&password_file, password.expose_secret().as_bytes())?;
    place.give(&password_file)?;
    let made = initdb(place, binaries, &draft, &password_file).await;
    fs::remove_file(&password_file)?;
    made?;
    let conf = draft.join("postgresql.conf");
    let text = fs::read_to_string(&conf)?;
    fs::write(&conf, format!("{text}\ninclude '{SETTINGS_FILE}'\n"))?;
    fs::rename(&draft, &data).with_context(|| format!("cannot name {}", data.display()))
}

async fn initdb(place: &Place, binaries: &Programs, data: &Path, password_file: &Path) -> anyhow::Result<()> {
    let mut command = place.command(&binaries.program("initdb"));
    command
        .args(["--no-sync", "--encoding=UTF8", "--auth=scram-sha-256"])
        .arg(format!("--locale={}", locale().await))
        .arg(format!("--username={SUPERUSER}"))
        .arg(format!("--pwfile={}", password_file.display()))
        .arg("--pgdata")
        .arg(data)
        .kill_on_drop(true);
    let output = tokio::time::timeout(INITDB_TIMEOUT, command.output())
        .await
        .with_context(|| format!("initdb did not finish within {} s", INITDB_TIMEOUT.as_secs()))?
        .with_context(|| format!("cannot run {}", binaries.program("initdb").display()))?;
    if !output.status.success() {
        bail!("initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Sorts by code point and knows Unicode; the plain C locale where the system has nothing better.
async fn locale() -> &'static str {
    let output = Command::new("locale").arg("-a").stdin(Stdio::null()).output().await;
    let known = output.map(|output| String::from_utf8_lossy(&output.stdout).to_lowercase()).unwrap_or_default();
    if known.lines().any(|line| matches!(line.trim(), "c.utf8" | "c.utf-8")) { "C.UTF-8" } else { "C" }
}

fn check_version(data: &Path, binaries: &Programs) -> anyhow::Result<()> {
    let version = fs::read_to_string(data.join("PG_VERSION"))
        .with_context(|| format!("{} is no PostgreSQL data folder: start again with --reset", data.display()))?;
    if version.trim() != binaries.major().to_string() {
        bail!(
            "{} was made by PostgreSQL {}, but {} was found: set PG_BIN to the programs of that version, or start \
             again with --reset",
            data.display(),
            version.trim(),
            binaries.major()
        );
    }
    Ok(())
}

/// Writes the settings into the folder itself, so that `pg_ctl -D data start` finds port and log again.
pub(super) fn configure(place: &Place, port: u16, max_connections: u16) -> anyhow::Result<()> {
    let log = place.private_folder("log")?;
    let log = log.to_str().context("the folder's path must be UTF-8")?.replace('\'', "''");
    let settings = format!(
        "# Written by freehold dev at every start: changes belong into postgresql.conf, below the include.\n\
         listen_addresses = '127.0.0.1'\n\
         port = {port}\n\
         # Paths of sockets are limited to about 100 characters; everybody comes over TCP.\n\
         unix_socket_directories = ''\n\
         max_connections = {max_connections}\n\
         # Freehold uses neither: what others may leave in a tenant's database has to be possible here too.\n\
         max_prepared_transactions = 10\n\
         wal_level = logical\n\
         # Survives a killed process, not a power cut.\n\
         fsync = off\n\
         full_page_writes = off\n\
         logging_collector = on\n\
         log_directory = '{log}'\n\
         log_filename = '{LOG_FILE}'\n\
         log_rotation_age = 0\n\
         log_rotation_size = 0\n\
         log_truncate_on_rotation = off\n\
         log_line_prefix = '%m [%p] %q%u@%d %a '\n\
         log_timezone = 'UTC'\n\
         timezone = 'UTC'\n"
    );
    let file = place.folder().join("data").join(SETTINGS_FILE);
    write_private(&file, settings.as_bytes())?;
    place.give(&file).with_context(|| format!("cannot hand over {}", file.display()))
}
