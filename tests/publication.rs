//! A publication holds what is new, however long the history of a product is.

use std::{collections::BTreeMap, fs, time::Duration};

use freehold::servers::LockKey;
use futures::future::{join, join_all};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    harness::{
        eventually,
        fleet::{self, Fleet},
        folder::Folder,
        programs::{Variables, run},
        unique,
    },
    migrations::{MIGRATIONS, published, set},
};

/// A file of this version that is nearly as long as one may be.
fn long(version: usize) -> Value {
    let sql = format!("SELECT {version}; -- {}\n", unique("x").repeat(24_000));
    json!({ "name": format!("V{version}__long.sql"), "sql": sql[..240_000] })
}

fn text<'a>(file: &'a Value, name: &str) -> &'a str {
    file[name].as_str().unwrap()
}

/// Other tests publish here as well, and send all there is.
async fn forget(fleet: &Fleet, first: usize) {
    fleet.control().run(&format!("DELETE FROM migrations WHERE stream = 'product' AND version >= {first}")).await;
}

#[tokio::test]
async fn a_history_beyond_a_mebibyte_is_published_and_its_files_stand_for_themselves() {
    let fleet = fleet::alone().await;
    let operator = fleet.operator();
    let old = published(&fleet).await;
    let (first, five) = (old.len() + 1, old.len() + 5);
    let mut files = old.clone();
    files.extend((first..=five).map(long));
    // As every client has sent it so far: the whole history with its texts.
    let answer = operator.post(MIGRATIONS, &json!({ "files": files })).await.expect(200);
    assert_eq!(answer, json!({ "version": five, "added": 5 }));
    // By digests, which the list tells.
    let listed = operator.get(MIGRATIONS).await.expect(200);
    let listed = listed["items"].as_array().unwrap().iter().filter(|file| file["stream"] == "product");
    let digests: Vec<_> = listed.map(|file| json!({ "name": file["name"], "sha256": file["sha256"] })).collect();
    assert_eq!(digests.len(), five);
    let post = async |files: &[Value]| operator.post(MIGRATIONS, &json!({ "files": files })).await;
    assert_eq!(post(&digests).await.expect(200), json!({ "version": five, "added": 0 }));
    let with = |file: Value| [&digests[..], &[file]].concat();
    let answer = post(&with(long(five + 1))).await.expect(200);
    assert_eq!(answer, json!({ "version": five + 1, "added": 1 }));
    let stored: Vec<_> = published(&fleet).await;
    assert_eq!(stored[..five], files[..], "the texts are those that were published");

    // What is published is still neither left out nor changed.
    post(&digests).await.problem(409, "migrations_diverged");
    let mut changed = with(long(five + 1));
    changed[0]["sha256"] = json!("0".repeat(64));
    post(&changed).await.problem(409, "migrations_diverged");
    let next = format!("V{}__new.sql", five + 1);
    let unknown = json!({ "name": format!("V{}__new.sql", five + 2), "sha256": "0".repeat(64) });
    let at = |member: &str| format!("files[{five}].{member}");
    post(&with(unknown)).await.wrong_field(&at("sha256"), "not_published");
    post(&with(json!({ "name": next }))).await.wrong_field(&at("sql"), "required");
    let both = json!({ "name": next, "sql": "SELECT 1", "sha256": "0".repeat(64) });
    post(&with(both)).await.wrong_field(&at("sha256"), "unknown_field");
    post(&with(json!({ "name": next, "sha256": "x" }))).await.wrong_field(&at("sha256"), "invalid_format");
    // There is a bound all the same. It is told before the body is read: so none is sent.
    let raw = format!(
        "POST {MIGRATIONS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: 4300000\r\nConnection: close\r\n\r\n",
        operator.bearer().expose_secret()
    );
    let mut socket = TcpStream::connect(fleet.replica.admin_address()).await.unwrap();
    socket.write_all(raw.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("payload_too_large"), "{answer}");
    forget(&fleet, first).await;
}

#[tokio::test]
async fn the_command_sends_what_is_new_in_as_many_parts_as_it_takes() {
    let fleet = fleet::alone().await;
    let mut files = published(&fleet).await;
    let first = files.len() + 1;
    files.extend((first..first + 20).map(long));
    let folder = Folder::new("publication");
    for file in &files {
        fs::write(folder.path().join(text(file, "name")), text(file, "sql")).unwrap();
    }
    let operator = fleet.operator();
    let reached = operator.for_programs("publication", &BTreeMap::new());
    let variables = Variables::from([
        ("FREEHOLD_URL".to_owned(), text(&reached, "url").to_owned()),
        ("FREEHOLD_API_KEY".to_owned(), operator.bearer().expose_secret().to_owned()),
    ]);
    for added in [20, 0] {
        let arguments = ["migration", "publish", "--dir", ".", "-o", "json"];
        let output = run(folder.path(), &arguments, &variables, "").await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said, json!({ "version": files.len(), "added": added }));
    }
    assert_eq!(published(&fleet).await, files);
    forget(&fleet, first).await;
}

#[tokio::test]
async fn the_command_tells_the_line_in_which_a_published_file_is_another() {
    let fleet = fleet::alone().await;
    let files = published(&fleet).await;
    let folder = Folder::new("diverged");
    for file in &files {
        fs::write(folder.path().join(text(file, "name")), text(file, "sql")).unwrap();
    }
    let first = folder.path().join(text(&files[0], "name"));
    fs::write(first, text(&files[0], "sql").replacen('\n', "\n-- edited\n", 1)).unwrap();
    let operator = fleet.operator();
    let reached = operator.for_programs("diverged", &BTreeMap::new());
    let variables = Variables::from([
        ("FREEHOLD_URL".to_owned(), text(&reached, "url").to_owned()),
        ("FREEHOLD_API_KEY".to_owned(), operator.bearer().expose_secret().to_owned()),
    ]);
    let output = run(folder.path(), &["migration", "publish", "--dir", "."], &variables, "").await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && told.contains(&format!("{}, line 2, is another: ", text(&files[0], "name"))),
        "{told}"
    );
}

#[tokio::test]
async fn what_a_trial_that_was_cut_off_has_left_goes_with_the_next_one() {
    let fleet = fleet::alone().await;
    let (server, files) = (fleet.on_platform_server("postgres"), published(&fleet).await);
    let admin = fleet.platform_admin().await;
    let names =
        |digest: &str| (format!("freehold_template_trial_{digest}"), format!("freehold_builder_trial_{digest}"));
    for digest in ["0123456789ab", "abcdef012345"] {
        let (database, role) = names(digest);
        admin.ensure_empty_database(&database).await.unwrap();
        admin.ensure_builder(&role).await.unwrap();
    }
    // One whose database is gone already, and one that is under way.
    let alone = names("fedcba987654").1;
    admin.ensure_builder(&alone).await.unwrap();
    let (at_work, its_role) = names("abcdef012345");
    assert!(admin.lock(&LockKey::Template(at_work.clone()), Duration::ZERO).await.unwrap());
    let next = files.len() + 1;
    let publish = async |name: &str| {
        let more = set(&files, &format!("V{next}__{name}.sql"), "SELECT 1");
        fleet.operator().post(MIGRATIONS, &more).await.expect(200);
        forget(&fleet, next).await;
        // Those of this test: others try sets on the same server.
        let is_ours = "~ '_trial_(0123456789ab|abcdef012345|fedcba987654)$' ORDER BY 1";
        let sql = format!(
            "SELECT name FROM (SELECT datname::text FROM pg_database UNION SELECT rolname::text FROM pg_roles)
                           AS found (name) WHERE name {is_ours}"
        );
        server.values::<String>(&sql).await
    };
    assert_eq!(publish("one").await, [its_role, at_work.clone()]);
    admin.unlock(&LockKey::Template(at_work)).await.unwrap();
    assert_eq!(publish("two").await, Vec::<String>::new());
    fleet.assert_clean().await;
}

#[tokio::test]
async fn of_publications_that_wait_one_has_a_session() {
    let fleet = fleet::alone().await;
    let (files, admin) = (published(&fleet).await, fleet.platform_admin().await);
    assert!(admin.lock(&LockKey::Publication, Duration::from_secs(30)).await.unwrap());
    let next = files.len() + 1;
    let body = set(&files, &format!("V{next}__one.sql"), "SELECT 1");
    let publish = async || fleet.operator().post(MIGRATIONS, &body).await.expect(200)["added"].as_u64().unwrap();
    let waiting = async {
        let named = "SELECT name FROM replicas ORDER BY seen_at DESC LIMIT 1";
        let replica: String = fleet.control().value(named).await;
        // Names have 63 bytes at most, and their ends are kept.
        let name = format!("'freehold:' || left('{replica}', 36) || ':publication_trial'");
        let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = {name}");
        let server = fleet.on_platform_server("postgres");
        eventually("one that waits", async || (server.value::<i64>(&sql).await == 1).then_some(())).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(server.value::<i64>(&sql).await, 1);
        admin.unlock(&LockKey::Publication).await.unwrap();
    };
    let (mut added, ()) = join(join_all((0..3).map(|_| publish())), waiting).await;
    added.sort_unstable();
    assert_eq!(added, [0, 0, 1]);
    forget(&fleet, next).await;
}
