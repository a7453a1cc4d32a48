//! `freehold dev` as a person meets it: what it tells, who may read it, how it ends, what it finds again.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{
    eventually_within,
    programs::{Dev, processes_in, run, send_signal, start_postgres},
};

/// Graceful stop: 30 s for requests, and some for the servers.
const STOPPED: Duration = Duration::from_secs(45);

/// The members of an object of `dev.json`.
fn members(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn assert_described_as_documented(about: &Value) {
    let expected = [
        (
            "",
            "public_url admin_url base_domain operator tenants control servers redis_url object_store_url mail_dir pids",
        ),
        ("/operator", "email password api_key"),
        ("/tenants/0", "slug id admin_email admin_password"),
        ("/tenants/1", "slug id admin_email admin_password"),
        ("/control", "database_url superuser_url data_dir log_file"),
        ("/servers/0", "id name admin_url superuser_url data_dir log_file"),
        ("/pids", "freehold postgres_control postgres_local-1 redis"),
    ];
    for (pointer, names) in expected {
        assert_eq!(members(about.pointer(pointer).unwrap()), names.split(' ').collect(), "{pointer}");
    }
}

/// Every file that holds a secret is for its owner alone.
fn assert_private(folder: &Path) {
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            if path.join("credentials.json").exists() {
                assert_private(&path);
            }
        } else if matches!(path.extension().and_then(|extension| extension.to_str()), Some("json" | "env" | "conf")) {
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", path.display());
            seen.insert(name);
        }
    }
    assert!(!seen.is_empty(), "no files in {}", folder.display());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_tells_what_is_documented_refuses_a_second_run_and_stops_all_that_it_started() {
    let mut dev = Dev::start().await;
    assert_described_as_documented(dev.about());
    assert_private(&dev.data());

    let second = run(dev.folder(), &["dev", "--folder", "data"], &dev.settings(), "").await;
    let words = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{words}");
    assert!(words.contains(&format!("process {}", dev.program().pid())), "{words}");

    let acme = dev.admin_of("acme").await;
    let made = acme.make_project().await.member("id");
    send_signal(dev.pid("postgres_local-1"), Signal::KILL);
    let data = Path::new(dev.told("/servers/0/data_dir"));
    eventually_within("the killed server's sessions have ended", STOPPED, async || {
        processes_in(data).is_empty().then_some(())
    })
    .await;
    start_postgres(data);
    let found = eventually_within("the server is found again", Duration::from_secs(10), async || {
        acme.try_get(&format!("/v1/projects/{made}")).await.ok().filter(|answer| answer.status() == 200)
    })
    .await;
    assert_eq!(found.member("id"), made);

    dev.program().signal(Signal::INT);
    let ended = dev.program().ended(STOPPED).await;
    assert_eq!(ended.code(), Some(0));
    assert_eq!(processes_in(&dev.data()), [0_u32; 0], "processes that outlived `freehold dev`");
}
