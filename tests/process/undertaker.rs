//! Ends what a test started and removes its folder, also when the test process itself was killed.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use freehold::types::Random;

/// Waits for the end of its input, which comes with the end of whoever holds the other side; then ends every
/// process that works in the folder `$0`, and removes it.
const SCRIPT: &str = r#"
cat > /dev/null
for round in $(seq 100); do
    found=$(find /proc -maxdepth 2 -name cwd -lname "$0*" -printf '%h\n' 2> /dev/null | sed 's|/proc/||')
    [ -z "$found" ] && break
    kill -9 $found 2> /dev/null
    sleep 0.1
done
rm -rf "$0"
"#;

/// A folder that everybody can reach and that ends with all that runs in it.
pub(super) struct Folder {
    path: PathBuf,
    undertaker: Child,
}

impl Folder {
    pub(super) fn new() -> Self {
        let path = parent().join(format!("process-{}", Random.token()));
        fs::create_dir_all(&path).unwrap();
        let path = fs::canonicalize(path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new("sh");
        command.arg("-c").arg(SCRIPT).arg(&path).current_dir("/").process_group(0).stdin(Stdio::piped());
        let undertaker = command.spawn().unwrap();
        Self { path, undertaker }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.undertaker.stdin.take());
        let _ = self.undertaker.wait();
    }
}

/// Cargo's own folder for tests, unless it lies where the accounts that PostgreSQL runs as cannot go.
fn parent() -> &'static Path {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(folder).unwrap();
    let is_open = |step: &Path| fs::metadata(step).is_ok_and(|found| found.permissions().mode() & 0o001 != 0);
    if folder.ancestors().all(is_open) { folder } else { Path::new("/var/tmp") }
}
