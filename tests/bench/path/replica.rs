//! Programs beside `freehold dev`: a second replica with other settings, and what it is all held against.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use tokio::time::{Instant, sleep};

use crate::{
    bare::Recycling,
    subject::{Subject, places},
};

/// Until it serves.
const READY: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// A program that is ended when it is dropped.
pub(crate) struct Program {
    child: Child,
    /// Where it serves.
    pub(crate) port: u16,
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended already needs no killing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    /// This program as the bare server.
    pub(crate) fn bare(url: &str, pool_size: usize, recycling: Recycling) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let recycling = match recycling {
            Recycling::Fast => "fast",
            Recycling::Clean => "clean",
        };
        command.args(["--bare", url, "--pool-size", &pool_size.to_string(), "--recycling", recycling]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no standard output")?).read_line(&mut line)?;
        Ok(Self { child, port: line.trim().parse().context("the bare server did not say its port")? })
    }

    /// A replica more on the same control database, with some settings of its own.
    pub(crate) async fn replica(subject: &Subject, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let [public, admin] = [free_port()?, free_port()?];
        let overrides = [
            ("FREEHOLD_REPLICA", "second".to_owned()),
            ("FREEHOLD_PUBLIC_LISTEN", format!("127.0.0.1:{public}")),
            ("FREEHOLD_ADMIN_LISTEN", format!("127.0.0.1:{admin}")),
            // What nobody asked for is done by one of the two.
            ("FREEHOLD_OPERATION_CONCURRENCY", "0".to_owned()),
        ]
        .into_iter()
        .chain(settings.iter().map(|(name, value)| (*name, (*value).to_owned())))
        .fold(String::new(), |overrides, (name, value)| overrides + &format!("{name}='{value}'; "));
        let script = format!("set -a; . ./data/dev.env; {overrides} exec \"$0\" serve");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_freehold")]).current_dir(&subject.folder);
        command.env_clear().envs(places()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let program = Self { child: command.spawn()?, port: public };
        let (url, deadline) = (format!("http://127.0.0.1:{admin}/health/ready"), Instant::now() + READY);
        while !subject.http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            ensure!(Instant::now() < deadline, "a second replica is not ready within {} s", READY.as_secs());
            sleep(POLL).await;
        }
        Ok(program)
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
