//! A private Redis without persistence: limits and caches in development, where there is a Redis to start.
//!
//! Its folder holds `redis.conf`, so that a person can kill it and start it again with `redis-server data/redis.conf`
//! and it is found again under the same port and password.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::Signal;
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::{
    binaries,
    credentials::{Credentials, write_private},
    place::Place,
    ports::Reservation,
    process::{Running, Supervised},
};

const START_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(20);
const STOP: [(Signal, Duration); 2] = [(Signal::TERM, Duration::from_secs(5)), (Signal::KILL, Duration::from_secs(5))];

/// The name of its folder.
pub(super) const FOLDER: &str = "redis";

/// What it works in: the only folder that it can write to.
const DATA: &str = "data";

/// The one user that Redis has.
const USER: &str = "default";

/// A running Redis. Dropped without having been stopped, it is told to end.
pub struct Redis {
    place: Place,
    port: u16,
    credentials: Credentials,
    server: Supervised,
}

impl Redis {
    /// Starts Redis in the folder `redis` of `place`; `None` where it is not installed.
    pub(super) async fn start(place: &Place) -> anyhow::Result<Option<Self>> {
        let Some(program) = binaries::redis_server() else { return Ok(None) };
        Self::start_in(place.within(FOLDER)?, &program).await.map(Some).context("cannot start Redis")
    }

    async fn start_in(place: Place, program: &Path) -> anyhow::Result<Self> {
        stop_leftover(&place).await?;
        let folder = place.private_folder(DATA)?;
        let credentials = Credentials::load_or_make(place.folder().join("credentials.json"), &[USER])?;
        let reservation = Reservation::remembered(&place.folder().join("port"))?;
        let port = reservation.port();
        let conf = configure(&place, &folder, port, credentials.password(USER)?)?;
        let errors = File::create(place.folder().join("start.log"))?;
        drop(reservation);
        let mut command = place.command(program);
        command.arg(conf).stdout(errors.try_clone()?).stderr(errors);
        let redis = Self { server: Supervised::spawn(&mut command, Signal::TERM)?, place, port, credentials };
        redis.wait_until_ready().await?;
        Ok(redis)
    }

    /// The process that this run started.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// `redis://default:password@127.0.0.1:port`.
    pub fn url(&self) -> anyhow::Result<SecretString> {
        let (password, port) = (self.credentials.password(USER)?.expose_secret(), self.port);
        Ok(format!("redis://{USER}:{password}@127.0.0.1:{port}").into())
    }

    /// Ends it, also when a person has killed and started it again meanwhile.
    pub async fn stop(self) -> anyhow::Result<()> {
        stop_leftover(&self.place).await
    }

    async fn wait_until_ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            if self.server.has_ended() {
                bail!("Redis ended; its log is in {}", self.place.folder().display());
            }
            if let Ok(Ok(true)) = timeout(ANSWER_TIMEOUT, self.answers()).await {
                return Ok(());
            }
            sleep(POLL).await;
        }
        bail!(
            "Redis was not ready within {} s; its log is in {}",
            START_TIMEOUT.as_secs(),
            self.place.folder().display()
        )
    }

    async fn answers(&self) -> anyhow::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let password = self.credentials.password(USER)?.expose_secret();
        stream.write_all(format!("AUTH {password}\r\nPING\r\nQUIT\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer.contains("+PONG"))
    }
}

/// Stops the Redis that runs in `place`, whoever started it.
pub(super) async fn stop_leftover(place: &Place) -> anyhow::Result<()> {
    let folder = place.folder().join(DATA);
    match Running::find(&folder.join("redis.pid"), &folder).await {
        Some(running) => running.stop(&STOP).await,
        None => Ok(()),
    }
}

fn configure(place: &Place, folder: &Path, port: u16, password: &SecretString) -> anyhow::Result<PathBuf> {
    let conf = folder.join("redis.conf");
    let path = folder.to_str().context("the folder's path must be UTF-8")?;
    let password = password.expose_secret();
    let settings = format!(
        "# Written by freehold dev at every start.\n\
         bind 127.0.0.1\n\
         port {port}\n\
         requirepass {password}\n\
         dir \"{path}\"\n\
         pidfile \"{path}/redis.pid\"\n\
         logfile \"{path}/redis.log\"\n\
         save \"\"\n\
         appendonly no\n"
    );
    write_private(&conf, settings.as_bytes())?;
    place.give(&conf).with_context(|| format!("cannot hand over {}", conf.display()))?;
    // An old pid file of root's cannot be replaced by the account that Redis runs as.
    let pid_file = folder.join("redis.pid");
    if pid_file.exists() {
        fs::remove_file(&pid_file)?;
    }
    Ok(conf)
}
