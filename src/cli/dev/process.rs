//! The servers' processes: children of this run, and what an earlier one left running.
//!
//! A number in a pid file may belong to a stranger by now. A signal is sent only to a process whose working
//! directory is the server's own folder.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::Command,
    task::JoinHandle,
    time::{Instant, sleep},
};

const POLL: Duration = Duration::from_millis(20);

/// A child process that is reaped as soon as it ends: PostgreSQL refuses to start while a process with the number
/// in its pid file exists, and a zombie does. Dropped while it runs, the child gets its last word.
pub(super) struct Supervised {
    pid: Pid,
    last_word: Signal,
    reaper: JoinHandle<io::Result<ExitStatus>>,
}

impl Supervised {
    /// Starts `command`; `last_word` is the signal that ends it at once.
    pub(super) fn spawn(command: &mut Command, last_word: Signal) -> anyhow::Result<Self> {
        let mut child =
            command.spawn().with_context(|| format!("cannot run {}", command.as_std().get_program().display()))?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let pid = pid.context("the process ended right after its start")?;
        Ok(Self { pid, last_word, reaper: tokio::spawn(async move { child.wait().await }) })
    }

    /// The process's number.
    pub(super) fn pid(&self) -> u32 {
        number(self.pid)
    }

    /// Whether it has ended, by itself or by somebody's hand.
    pub(super) fn has_ended(&self) -> bool {
        self.reaper.is_finished()
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        if !self.has_ended() {
            // It may have ended in this very moment: then there is nobody left to tell.
            let _ = kill_process(self.pid, self.last_word);
        }
    }
}

fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}

/// A server as its pid file describes it.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pid: Pid,
    folder: PathBuf,
}

impl Running {
    /// The process that the first line of `pid_file` names, if it runs in `folder`.
    pub(super) async fn find(pid_file: &Path, folder: &Path) -> Option<Self> {
        let text = fs::read_to_string(pid_file).ok()?;
        let pid = text.lines().next()?.trim().parse().ok().and_then(Pid::from_raw)?;
        let running = Self { pid, folder: folder.to_owned() };
        running.is_alive().await.then_some(running)
    }

    fn pid(&self) -> u32 {
        number(self.pid)
    }

    /// Sends each signal in turn and waits for its time, until the process has ended.
    pub(super) async fn stop(&self, signals: &[(Signal, Duration)]) -> anyhow::Result<()> {
        for (signal, patience) in signals {
            match kill_process(self.pid, *signal) {
                Ok(()) => {}
                Err(rustix::io::Errno::SRCH) => return Ok(()),
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!("cannot stop process {}, which runs in {}", self.pid(), self.folder.display())
                    });
                }
            }
            let deadline = Instant::now() + *patience;
            while Instant::now() < deadline {
                if !self.is_alive().await {
                    return Ok(());
                }
                sleep(POLL).await;
            }
        }
        bail!("process {}, which runs in {}, does not end: end it by hand", self.pid(), self.folder.display())
    }

    /// A zombie has no working directory any more and counts as ended.
    async fn is_alive(&self) -> bool {
        match fs::read_link(format!("/proc/{}/cwd", self.pid())) {
            Ok(folder) => folder == self.folder,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => self.looks_like_a_server(),
            Err(_) if Path::new("/proc/self").exists() => false,
            Err(_) => self.working_directory_by_lsof().await.is_some_and(|folder| folder == self.folder),
        }
    }

    /// Root in a container without `CAP_SYS_PTRACE` may not see another user's working directory; the pid file
    /// in our folder and the program's name must do.
    fn looks_like_a_server(&self) -> bool {
        let line = fs::read(format!("/proc/{}/cmdline", self.pid())).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        ["postgres", "redis-server", "valkey-server"].iter().any(|program| line.contains(program))
    }

    /// Systems without `/proc` (macOS) ship lsof, which prints `n<folder>`.
    async fn working_directory_by_lsof(&self) -> Option<PathBuf> {
        let pid = self.pid().to_string();
        let output = Command::new("lsof").args(["-a", "-d", "cwd", "-Fn", "-p", &pid]).output().await.ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        text.lines().find_map(|line| line.strip_prefix('n')).map(PathBuf::from)
    }
}
