//! `freehold dev` in a folder of its own, as its users run it, and its clients.

use std::{
    ffi::OsString,
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use freehold::types::Random;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, NoTls};

/// Until it serves, with two new clusters.
const READY: Duration = Duration::from_mins(2);
/// Until it has stopped all that it started.
const STOPPED: Duration = Duration::from_mins(1);
/// Longer than any answer may take (15 s).
const ANSWER: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// What is measured.
pub(crate) struct Subject {
    program: Child,
    /// Where it keeps everything.
    pub(crate) folder: PathBuf,
    about: Value,
    /// What it is asked with.
    pub(crate) http: reqwest::Client,
}

impl Subject {
    /// Starts it, without warm databases and otherwise as `settings` say, and waits until it serves.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(ANSWER).build()?;
        let folder = parent().join(format!("freehold-bench-{}", Random.token()));
        fs::create_dir_all(&folder)?;
        // Whoever PostgreSQL runs as has to get in.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        let mut subject = Self { program: launch(&folder, settings)?, folder, about: Value::Null, http };
        if let Err(error) = subject.ready().await {
            subject.stop().await?;
            return Err(error);
        }
        Ok(subject)
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let (about, deadline) = (self.folder.join("data/dev.json"), Instant::now() + READY);
        while !about.exists() {
            if let Some(status) = self.program.try_wait()? {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                bail!("freehold dev ended with {status}:\n{log}");
            }
            ensure!(Instant::now() < deadline, "freehold dev is not ready within {} s", READY.as_secs());
            sleep(POLL).await;
        }
        self.about = serde_json::from_slice(&fs::read(about)?)?;
        Ok(())
    }

    /// Ends it in order and takes its folder away.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + STOPPED;
        let pid = i32::try_from(self.program.id()).ok().and_then(Pid::from_raw);
        // One that has ended by itself is told nothing.
        if let (Some(pid), None) = (pid, self.program.try_wait()?) {
            kill_process(pid, Signal::TERM)?;
        }
        while self.program.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "freehold dev does not stop; its folder is {}", self.folder.display());
            sleep(POLL).await;
        }
        Ok(fs::remove_dir_all(&self.folder)?)
    }

    /// A text of `dev.json`, by its JSON pointer.
    pub(crate) fn told(&self, pointer: &str) -> anyhow::Result<&str> {
        self.about.pointer(pointer).and_then(Value::as_str).with_context(|| format!("dev.json has no {pointer}"))
    }
}

/// In a group of its own: when the run is interrupted, it is stopped in order.
fn launch(folder: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Child> {
    let log = fs::File::create(folder.join("log"))?;
    let quiet = [
        ("FREEHOLD_PUBLIC_LISTEN", "127.0.0.1:0"),
        ("FREEHOLD_ADMIN_LISTEN", "127.0.0.1:0"),
        ("FREEHOLD_WARM_MIN", "0"),
        ("FREEHOLD_WARM_MAX", "0"),
        // They log in as every tenant and would come into some turns and not into others.
        ("FREEHOLD_ISOLATION_INTERVAL_SECONDS", "0"),
        ("FREEHOLD_FSCK_INTERVAL_SECONDS", "0"),
        ("FREEHOLD_DRIFT_INTERVAL_SECONDS", "0"),
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_freehold"));
    command.args(["dev", "--folder", "data"]).current_dir(folder).env_clear().envs(places()).envs(quiet);
    command.envs(settings.iter().copied());
    command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command.spawn()?)
}

/// What says where programs are found, and nothing else: not the caller's settings.
pub(crate) fn places() -> impl Iterator<Item = (&'static str, OsString)> {
    ["PATH", "PG_BIN"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)))
}

/// Cargo's own folder for such things, unless it lies where the accounts that PostgreSQL runs as cannot go.
fn parent() -> &'static Path {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let is_open = |step: &Path| fs::metadata(step).is_ok_and(|found| found.permissions().mode() & 0o001 != 0);
    if folder.ancestors().all(is_open) { folder } else { Path::new("/var/tmp") }
}

/// A session with a server.
pub(crate) async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
