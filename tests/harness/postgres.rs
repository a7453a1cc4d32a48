//! Which PostgreSQL the tests run on: told once, past libtest's capture, and held against what was asked for. A
//! suite that ran on another version than the one that `PG_BIN` names would be believed all the same.

use std::{collections::BTreeSet, env, io::Write, path::PathBuf, process::Command, sync::Mutex};

use tokio_postgres::Client;

/// The version of the server that `session` is on, `18.6` or a vendor's longer text; fails the test when `PG_BIN` asked
/// for another one.
pub(crate) async fn version(session: &Client) -> String {
    let version: String = session.query_one("SHOW server_version", &[]).await.unwrap().get(0);
    if let Some(asked_for) = asked_for() {
        assert_eq!(version, asked_for, "the version of a server, and that of PG_BIN's postgres");
    }
    announce(&version);
    version
}

/// What PostgreSQL in `PG_BIN` calls itself, if that is set.
fn asked_for() -> Option<String> {
    let folder = PathBuf::from(env::var_os("PG_BIN")?);
    let output = Command::new(folder.join("postgres")).arg("--version").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.trim().strip_prefix("postgres (PostgreSQL) ").unwrap().to_owned())
}

fn announce(version: &str) {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if TOLD.lock().unwrap().insert(version.to_owned()) {
        writeln!(std::io::stderr(), "the servers of these tests are PostgreSQL {version}").unwrap();
    }
}
