//! Ends the servers of a test run when the test process ends, in whatever way.
//!
//! libtest ends the process without dropping what is static, and a killed process drops nothing at all. So a shell
//! waits for the end of a pipe whose other end this process holds and never uses: the system closes it with the
//! process. It sits in a process group of its own, so that Ctrl-C in the terminal leaves it its work. It finds the
//! servers by their pid files, then removes the folders; with `FREEHOLD_TEST_KEEP` set it leaves them to look at.

use std::{
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

/// Reads until the end of the pipe; then QUIT, PostgreSQL's immediate shutdown, and TERM for Redis. Either takes its
/// pid file away when it ends.
const SCRIPT: &str = r#"
cat > /dev/null
for folder in "$@"; do
    for file in "$folder"/*/data/postmaster.pid "$folder"/*/data/redis.pid; do
        [ -f "$file" ] || continue
        case "$file" in *redis.pid) signal=TERM ;; *) signal=QUIT ;; esac
        kill -$signal "$(head -n 1 "$file")" 2> /dev/null
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            [ -f "$file" ] && sleep 0.3
        done
    done
    [ -n "$FREEHOLD_TEST_KEEP" ] || rm -rf "$folder"
done
"#;

/// Watches over the servers in some folders for as long as it lives.
pub(crate) struct Watchdog {
    // Its end of the pipe closes with this process.
    _shell: Child,
}

impl Watchdog {
    /// Watches over the servers in subfolders of `folders`.
    pub(crate) fn over(folders: &[&Path]) -> Self {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(SCRIPT).arg("watchdog").args(folders);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Self { _shell: shell.spawn().unwrap() }
    }
}
