//! Faults: signals, and databases that are stopped and started behind Freehold's back.

use std::{
    fs,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

/// Sends `signal` to a process that this test started, itself or through `freehold dev`.
pub(crate) fn send_signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// `pg_ctl stop -m immediate`: as hard as PostgreSQL itself stops.
pub(crate) fn stop_postgres(data: &Path) {
    pg_ctl(data, &["stop", "-m", "immediate", "-w"]);
}

/// `pg_ctl start`, as a person would.
pub(crate) fn start_postgres(data: &Path) {
    let log = data.join("pg_ctl.log");
    pg_ctl(data, &["start", "-w", "-l", log.to_str().unwrap()]);
}

fn pg_ctl(data: &Path, arguments: &[&str]) {
    let options = fs::read_to_string(data.join("postmaster.opts")).unwrap();
    let postgres = options.split_whitespace().next().unwrap();
    let mut command = Command::new(Path::new(postgres).with_file_name("pg_ctl"));
    command.args(arguments).arg("-D").arg(data).arg("-s").current_dir(data);
    as_owner_of(data, &mut command);
    let ended = command.status().unwrap();
    assert!(ended.success(), "pg_ctl {arguments:?}: {ended}");
}

/// The processes that work in `folder` or below.
pub(crate) fn processes_in(folder: &Path) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder))).collect()
}

/// A Redis in the place of the one that ran in `folder`, as a person would start it.
pub(crate) fn start_redis(folder: &Path) {
    let data = folder.join("data");
    let mut command = Command::new("redis-server");
    command.arg(data.join("redis.conf")).args(["--daemonize", "yes"]).current_dir(&data).stdout(Stdio::null());
    as_owner_of(&data, &mut command);
    let started = command.status().unwrap();
    assert!(started.success(), "redis-server: {started}");
}

/// PostgreSQL refuses to run as root; its folder says as whom it runs.
fn as_owner_of(folder: &Path, command: &mut Command) {
    let owner = fs::metadata(folder).unwrap();
    if rustix::process::geteuid().is_root() {
        command.uid(owner.uid()).gid(owner.gid());
    }
}
