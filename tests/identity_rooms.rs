//! Identity's rooms: each table of Freehold's stream in a tenant's database has one file that speaks SQL to it, rooms
//! use each other as `src/identity/mod.rs` draws it, and what a row holds is read with `try_get`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::{
    harness::fleet,
    layering::{Edges, named, written},
};

/// Which file speaks to which table. The control database, which has tables of the same names, is `control`'s.
const STORES: [(&str, &str); 16] = [
    ("roles", "identity/roles/store.rs"),
    ("users", "identity/people/store.rs"),
    ("credentials", "identity/credentials/store.rs"),
    ("sessions", "identity/sessions/store.rs"),
    ("refresh_tokens", "identity/tokens/store.rs"),
    ("sign_in_steps", "identity/steps/store.rs"),
    ("account_tokens", "identity/links/store.rs"),
    ("sign_in_attempts", "identity/guesses/store.rs"),
    ("invitations", "identity/invitations/store.rs"),
    ("api_keys", "identity/api_keys/store.rs"),
    ("audit_events", "identity/audit/store.rs"),
    ("audit_batches", "identity/audit/store.rs"),
    ("audit_digests", "identity/audit/store.rs"),
    ("audit_horizons", "identity/audit/store.rs"),
    ("settings", "identity/settings/store.rs"),
    ("idempotency_keys", "tenancy/idempotency.rs"),
];

/// What is no store and says SQL to a table all the same: it tries, as the tenant's own role, what must be refused.
const TRIES: [(&str, &str); 1] = [("audit_events", "operations/checks/verify_isolation/probes.rs")];

/// Open to every room: who asks, how they came, what they may, and how they are answered.
const OPEN: [&str; 4] = ["client", "made", "permissions", "principal"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `folder` whose name ends so, by their path in it.
fn files(folder: &str, ending: &str) -> BTreeMap<String, String> {
    let top = root().join(folder);
    let (mut left, mut found) = (vec![top.clone()], BTreeMap::new());
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.to_string_lossy().ends_with(ending) {
            let name = path.strip_prefix(&top).unwrap().to_string_lossy().into_owned();
            found.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
    found
}

/// Its lines without comments, and without the tests at its end: those look at what others made of a table.
fn code(text: &str) -> String {
    let (text, _) = text.split_once("#[cfg(test)]\nmod tests {").unwrap_or((text, ""));
    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| line.to_owned() + "\n").collect()
}

/// What stands in quotes: a statement may be put together from several.
fn literals(code: &str) -> String {
    let code = code.replace("\\\"", "").replace("'\"'", "");
    code.split('"').skip(1).step_by(2).collect::<Vec<_>>().join(" ")
}

/// The tables among `tables` that a text says SQL to: named after a word that a table's name follows, or with their
/// schema.
fn spoken_to<'a>(text: &str, tables: &[&'a str]) -> BTreeSet<&'a str> {
    let is_break = |c: char| !(c.is_alphanumeric() || c == '_' || c == '.');
    let words: Vec<_> = text.split(is_break).filter(|word| !word.is_empty()).collect();
    let mut found = BTreeSet::new();
    for (at, word) in words.iter().enumerate() {
        let name = word.strip_prefix("freehold.").unwrap_or(word);
        let Some(table) = tables.iter().find(|table| **table == name) else { continue };
        let before = at.checked_sub(1).map_or("", |before| words[before]);
        let follows = ["FROM", "JOIN", "INTO", "UPDATE", "TABLE", "TRUNCATE", "ONLY", "USING", "COPY", "REFERENCES"];
        if name != *word || follows.iter().any(|word| word.eq_ignore_ascii_case(before)) {
            found.insert(*table);
        }
    }
    found
}

#[test]
fn only_its_own_store_says_sql_to_a_table() {
    let tables = STORES.map(|(table, _)| table);
    let (mut strays, mut idle) = (Vec::new(), tables.iter().copied().collect::<BTreeSet<_>>());
    let quoted = files("src", ".rs").into_iter().map(|(name, text)| (name, literals(&code(&text))));
    let mut sources: BTreeMap<_, _> = quoted.chain(files("src", ".sql")).collect();
    sources.retain(|name, _| !name.starts_with("control/") && !name.ends_with("tests.rs"));
    for (name, text) in &sources {
        for table in spoken_to(text, &tables) {
            let here = (table, name.as_str());
            if STORES.contains(&here) {
                idle.remove(table);
            } else if !TRIES.contains(&here) {
                strays.push(format!("{name}: {table}"));
            }
        }
    }
    assert!(strays.is_empty(), "SQL to a table beside its store: {strays:#?}");
    assert!(idle.is_empty(), "tables that no store speaks to: {idle:?}");
}

#[test]
fn every_table_of_the_stream_has_a_store() {
    let made = |text: &str| -> BTreeSet<String> {
        let names = text.lines().filter_map(|line| line.strip_prefix("CREATE TABLE "));
        names.map(|line| line.split([' ', '(']).next().unwrap().trim_start_matches("freehold.").to_owned()).collect()
    };
    let tables: BTreeSet<_> =
        files("tenant-migrations/freehold", ".sql").values().flat_map(|text| made(text)).collect();
    assert_eq!(tables, STORES.iter().map(|(table, _)| (*table).to_owned()).collect());
}

#[test]
fn what_a_row_holds_is_read_without_a_panic() {
    let of_rows = ["row.get(", "row.get::<", ".get::<_,"];
    let is_wrong = |line: &&str| of_rows.iter().any(|call| line.contains(call));
    let found: Vec<_> = files("src", ".rs")
        .iter()
        .flat_map(|(name, text)| {
            code(text).lines().filter(is_wrong).map(|line| format!("{name}: {}", line.trim())).collect::<Vec<_>>()
        })
        .collect();
    assert!(found.is_empty(), "a row that holds something else makes these panic; say try_get: {found:#?}");
}

#[test]
fn rooms_use_each_other_as_drawn() {
    let sources = files("src/identity", ".rs");
    let drawn = written(&sources["mod.rs"]);
    let mut used = Edges::new();
    for (name, text) in sources.iter().filter(|(name, _)| *name != "mod.rs") {
        let room = name.split(['/', '.']).next().unwrap();
        let mut rooms = named(text, "identity::");
        if !name.contains('/') || name.ends_with("/mod.rs") {
            rooms.extend(named(text, "super::"));
        }
        used.extend(rooms.into_iter().filter(|to| to != room).map(|to| (room.to_owned(), to)));
    }
    let is_room = |name: &str| sources.keys().any(|file| file.split(['/', '.']).next() == Some(name));
    used.retain(|(from, to)| is_room(to) && !OPEN.contains(&from.as_str()) && !OPEN.contains(&to.as_str()));
    assert!(used.len() > 15, "the reader of the code finds next to nothing");
    let text =
        |edges: BTreeSet<&(String, String)>| edges.iter().map(|(a, b)| format!("{a} -> {b}")).collect::<Vec<_>>();
    assert!(used.is_subset(&drawn), "not in the map: {:?}", text(used.difference(&drawn).collect()));
    assert!(drawn.is_subset(&used), "in the map, and not used: {:?}", text(drawn.difference(&used).collect()));
}

#[test]
fn the_reader_knows_sql_from_words() {
    let tables = ["users", "sessions"];
    let heard = |text: &str| spoken_to(text, &tables).into_iter().collect::<Vec<_>>();
    assert_eq!(heard("SELECT 1 FROM users u JOIN\n sessions s"), ["sessions", "users"]);
    assert_eq!(heard("x, freehold.users y"), ["users"]);
    assert_eq!(heard("insert into users (id)"), ["users"]);
    let code_of = |text: &str| heard(&literals(text)).len();
    assert_eq!(code_of("concat!(\"SELECT 1 FROM\", \" users\")"), 1);
    assert_eq!(code_of("[TABLE, users::TABLE, sessions, '\"', \"a \\\" b\"]"), 0);
    assert!(heard("use crate::users; let sessions = the_users(users); FROM other_users").is_empty());
    assert_eq!(code("//! FROM freehold.users\nlet a; // b\n    /// x\n#[cfg(test)]\nmod tests {"), "let a; // b\n");
}

#[tokio::test]
async fn the_table_of_credentials_has_room_for_kinds_that_come() {
    let tenant = fleet::shared().await.tenant().await;
    let own = tenant.database();
    let add = |kind: &str, handle: &str, data: &str| {
        format!(
            "INSERT INTO freehold.credentials (id, user_id, kind, handle, data)
             SELECT gen_random_uuid(), id, '{kind}', '{handle}', '{data}' FROM freehold.users LIMIT 1;"
        )
    };
    let refused = async |sql: String| {
        let error = own.connect().await.unwrap().batch_execute(&sql).await.unwrap_err();
        error.as_db_error().unwrap().constraint().unwrap().to_owned()
    };
    let hash = r#"{"hash": "$argon2id$v=19$x"}"#;
    assert_eq!(refused(add("password", "", hash)).await, "credentials_user_id_kind_handle_key", "a second one");
    assert_eq!(refused(add("password", "another", hash)).await, "credentials_password_check");
    own.run("DELETE FROM freehold.credentials").await;
    for bad in ["{}", r#"{"hash": null}"#, r#"{"hash": "plain"}"#] {
        assert_eq!(refused(add("password", "", bad)).await, "credentials_password_check", "{bad}");
    }
    assert_eq!(refused(add("passkey", "", "{}")).await, "credentials_kind_check");
    let seed = r#"{"seed": "sealed", "last_step": 58000000}"#;
    for (kind, handle, data) in [
        ("totp", "", "{}"),
        ("totp", "", r#"{"seed": 1, "last_step": 1}"#),
        ("totp", "third", seed),
        ("recovery_code", "1", r#"{"digest": "00"}"#),
        ("former_password", "1", r#"{"hash": "plain"}"#),
        ("trusted_device", "1", r#"{"expires_at": "2030-01-31"}"#),
    ] {
        assert_eq!(refused(add(kind, handle, data)).await, format!("credentials_{kind}_check"));
    }
    // Rolled back: the tenant's schema stays what it was.
    let session = own.connect().await.unwrap();
    let widened = "BEGIN; ALTER TABLE freehold.credentials DROP CONSTRAINT credentials_kind_check;
                   ALTER TABLE freehold.credentials ADD CONSTRAINT credentials_kind_check
                       CHECK (kind IN ('password', 'former_password', 'totp', 'recovery_code', 'trusted_device', 'passkey',
                           'external'))";
    let digests = ["0", "1"].map(|digit| format!(r#"{{"digest": "{}"}}"#, digit.repeat(64)));
    session.batch_execute(widened).await.unwrap();
    let kinds = [
        ("password", "", hash),
        ("former_password", "1", hash),
        ("totp", "", seed),
        ("totp", "new", seed),
        ("trusted_device", &"0".repeat(64), r#"{"expires_at": "2030-01-31T00:00:00Z"}"#),
        ("recovery_code", "1", &digests[0]),
        ("recovery_code", "2", &digests[1]),
        ("passkey", &"c".repeat(1_364), r#"{"public_key": "00", "counter": 0}"#),
        ("passkey", "another", r#"{"public_key": "01", "counter": 0}"#),
        ("external", "https://accounts.example.com 248289761001", "{}"),
    ];
    session.batch_execute(&kinds.map(|(kind, handle, data)| add(kind, handle, data)).concat()).await.unwrap();
    let step = "UPDATE freehold.credentials SET data = data || '{\"last_step\": 58000001}'
                WHERE kind = 'totp' AND handle = '' AND (data ->> 'last_step')::bigint < 58000001";
    for accepted in [1, 0] {
        assert_eq!(session.execute(step, &[]).await.unwrap(), accepted, "a step is accepted once");
    }
    let all: i64 = session.query_one("SELECT count(*) FROM freehold.credentials", &[]).await.unwrap().get(0);
    assert_eq!(all, 10);
    session.batch_execute("ROLLBACK").await.unwrap();
}
