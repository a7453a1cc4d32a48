//! A folder for servers and programs, which ends with all that runs in it, in whatever way this process ends.
//!
//! libtest ends the process without dropping what is static, and a killed process drops nothing at all. So a shell
//! waits for the end of a pipe whose other end this process holds and never uses: the system closes it with the
//! process. It sits in a process group of its own, so that Ctrl-C in the terminal leaves it its work. It ends servers by
//! their pid files and then whatever still works in the folder; with `FREEHOLD_TEST_KEEP` set it leaves the folder to
//! look at.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::unique;

/// Reads until the end of the pipe; then QUIT, PostgreSQL's immediate shutdown, and TERM for Redis. Either takes its
/// pid file away when it ends.
const SCRIPT: &str = r#"
cat > /dev/null
pid_files() {
    for file in "$0"/*/data/postmaster.pid "$0"/*/data/redis.pid "$0"/*/*/data/postmaster.pid "$0"/*/*/data/redis.pid; do
        [ -f "$file" ] && kill -0 "$(head -n 1 "$file")" 2> /dev/null && echo "$file"
    done
}
pid_files | while read -r file; do
    case "$file" in *redis.pid) signal=TERM ;; *) signal=QUIT ;; esac
    kill -$signal "$(head -n 1 "$file")" 2> /dev/null
done
for round in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ -z "$(pid_files)" ] && break
    sleep 0.1
done
for round in $(seq 100); do
    found=$(find /proc -maxdepth 2 -name cwd -lname "$0*" -printf '%h\n' 2> /dev/null | sed 's|/proc/||')
    [ -z "$found" ] && break
    kill -9 $found 2> /dev/null
    sleep 0.1
done
[ -n "$FREEHOLD_TEST_KEEP" ] || rm -rf "$0"
"#;

/// A folder that everybody can reach and that ends with all that runs in it.
pub(crate) struct Folder {
    path: PathBuf,
    // Its end of the pipe closes with this process.
    shell: Child,
}

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = parent().join(unique(name));
        fs::create_dir_all(&path).unwrap();
        let path = fs::canonicalize(path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(SCRIPT).arg(&path).current_dir("/").process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { path, shell: shell.spawn().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// Cargo's own folder for tests, unless it lies where the accounts that PostgreSQL runs as cannot go.
fn parent() -> &'static Path {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(folder).unwrap();
    let is_open = |step: &Path| fs::metadata(step).is_ok_and(|found| found.permissions().mode() & 0o001 != 0);
    if folder.ancestors().all(is_open) { folder } else { Path::new("/var/tmp") }
}
