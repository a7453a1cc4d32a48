//! The program under test, run as its users run it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use rustix::process::Signal;

use super::send_signal;
use crate::harness::eventually_within;

/// Environment variables.
pub(crate) type Variables = BTreeMap<String, String>;

/// The program with the example product.
pub(super) const FREEHOLD: &str = env!("CARGO_BIN_EXE_freehold");

/// A `freehold` that runs; killed when dropped.
pub(crate) struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts `freehold` in `folder`, with `variables` and nothing else of this process's environment. What it
    /// prints goes to `<name>.log` there.
    pub(crate) fn start(folder: &Path, name: &str, arguments: &[&str], variables: &Variables) -> Self {
        Self::start_as(FREEHOLD.as_ref(), folder, name, arguments, variables)
    }

    /// Starts the program of another product.
    pub(crate) fn start_as(
        program: &Path,
        folder: &Path,
        name: &str,
        arguments: &[&str],
        variables: &Variables,
    ) -> Self {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().append(true).create(true).open(&log).unwrap();
        let mut command = command(program, folder, arguments, variables);
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Self { child: command.spawn().unwrap(), log }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send_signal(self.pid(), signal);
    }

    /// Whether something has stopped it: it is there and does nothing.
    #[cfg(feature = "crash-points")]
    pub(crate) fn is_stopped(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    }

    /// Ends it as a power cut would, as far as it can tell.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        assert_eq!(self.child.wait().unwrap().signal(), Some(9));
    }

    /// How it ended, once it has.
    pub(crate) async fn ended(&mut self, within: Duration) -> ExitStatus {
        let log = self.log.clone();
        let what = format!("the end of process {}; its log:\n{}", self.pid(), tail(&log));
        eventually_within(&what, within, async || self.child.try_wait().unwrap()).await
    }

    /// Fails the test if it has ended, with its last words.
    pub(crate) fn assert_alive(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "freehold ended with {ended:?}:\n{}", tail(&self.log));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprint(&format!("---- {}\n{}\n", self.log.display(), tail(&self.log)));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `freehold` to its end, with `input` on its standard input.
pub(crate) async fn run(folder: &Path, arguments: &[&str], variables: &Variables, input: &str) -> Output {
    run_as(FREEHOLD.as_ref(), folder, arguments, variables, input).await
}

/// Runs the program of another product to its end.
pub(crate) async fn run_as(
    program: &Path,
    folder: &Path,
    arguments: &[&str],
    variables: &Variables,
    input: &str,
) -> Output {
    let mut command = command(program, folder, arguments, variables);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that does not read its input may have ended by now.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    tokio::time::timeout(Duration::from_mins(1), ended).await.expect("a command within a minute").unwrap()
}

fn command(program: &Path, folder: &Path, arguments: &[&str], variables: &Variables) -> Command {
    let mut command = Command::new(program);
    // What says where programs are found, and nothing else: not the caller's settings.
    let places = ["PATH", "PG_BIN"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    command.args(arguments).current_dir(folder).env_clear().envs(places).envs(variables);
    command
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn eprint(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
