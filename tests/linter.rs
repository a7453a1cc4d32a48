//! The linter as people use it: the command, and beside another linter. What it finds is tested where it is written.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::harness::programs::{Variables, run};

/// `ops/squawk` says that there is no pip.
const NO_TOOL: i32 = 3;

/// What squawk finds and Freehold's linter does not, by squawk's rule, and why.
const EXEMPT: [(&str, &str); 4] = [
    ("require-lock-timeout", "Freehold sets it; `timeout-override` finds a file that sets another"),
    ("require-statement-timeout", "as lock_timeout"),
    ("require-table-schema", "Freehold sets search_path to the one schema of the stream"),
    (
        "prefer-robust-stmts",
        "a file is applied whole or not at all; outside of a transaction `not-repeatable` asks for it",
    ),
];

/// Likewise, in single files of the corpus. Most are the safe forms, which squawk does not tell from the dangers.
const EXEMPT_IN: [(&str, &[&str], &str); 12] = [
    ("prefer-bigint-over-int", &["add-exclusion.safe", "int-key.safe"], "only keys run out of numbers"),
    ("changing-column-type", &["change-type.safe"], "the type grows, which changes the catalogue alone"),
    ("ban-alter-domain-with-add-constraint", &["domain-constraint.safe"], "NOT VALID reads no table"),
    (
        "ban-drop-table",
        &["drop-and-create", "drop-table.safe", "waiver-reason", "waiver-reason.safe"],
        "waived, or made in the same file",
    ),
    ("ban-drop-column", &["drop-column.safe"], "waived"),
    ("require-concurrent-partition-detach", &["partition-detach.safe"], "waived: the runner takes no other form"),
    ("renaming-object", &["rename.safe"], "no program names a trigger"),
    ("adding-field-with-default", &["stable-default.safe"], "the function gives one value in the whole statement"),
    ("ban-drop-view", &["undo-file.safe"], "an undo file drops what its migration has made"),
    (
        "require-concurrent-index-creation",
        &[
            "duplicate-index",
            "duplicate-index.safe",
            "foreign-key-without-index.safe",
            "index-without-concurrently.safe",
        ],
        "the table is made in the same file",
    ),
    ("constraint-missing-not-valid", NEW_TABLES, "the table is made in the same file"),
    ("adding-serial-primary-key-field", NEW_TABLES, "the table is made in the same file"),
];
const NEW_TABLES: &[&str] = &["no-primary-key.safe", "serious-and-quoted.safe"];
fn is_exempt(file: &Path, rule: &str) -> bool {
    let name = file.file_stem().unwrap().to_str().unwrap();
    let within = EXEMPT_IN.iter().any(|(exempt, files, _)| *exempt == rule && files.contains(&name));
    within || EXEMPT.iter().any(|(exempt, _)| *exempt == rule)
}

fn corpus() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dangers");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The lines of a file of the corpus on which the linter finds something. The first line lists them.
fn found(file: &Path) -> BTreeSet<u64> {
    let text = fs::read_to_string(file).unwrap();
    let first = text.lines().next().unwrap();
    first.split(", ").filter_map(|one| one.rsplit_once(':')?.1.trim().parse().ok()).collect()
}

#[test]
#[ignore = "long: ./ops/test --soak"]
fn squawk_finds_nothing_that_ours_does_not() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/squawk");
    let output = Command::new(script).args(corpus()).output().unwrap();
    if output.status.code() == Some(NO_TOOL) {
        eprint(&output.stderr);
        return;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert!(findings.len() > 500, "squawk has read the corpus: {}", findings.len());
    let mut missed = Vec::new();
    for finding in &findings {
        let (file, rule) = (finding["file"].as_str().unwrap(), finding["rule_name"].as_str().unwrap());
        let (from, to) = (finding["line"].as_u64().unwrap() + 1, finding["line_end"].as_u64().unwrap() + 1);
        let is_found = found(Path::new(file)).range(from..=to).next().is_some();
        if !is_found && !is_exempt(Path::new(file), rule) {
            missed.push(format!("{file}:{from}: {rule}: {}", finding["message"]));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

fn eprint(text: &[u8]) {
    use std::io::Write as _;
    let _ = std::io::stderr().write_all(text);
}

fn folder(files: &[(&str, &str)]) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("freehold-linter-{}-{}", std::process::id(), files.len()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    for (name, text) in files {
        fs::write(folder.join(name), text).unwrap();
    }
    folder
}

#[tokio::test]
async fn the_command_prints_findings_with_their_place_and_fails_on_errors_alone() {
    let bad = folder(&[
        ("V1__a.sql", "CREATE TABLE a (id uuid PRIMARY KEY, name varchar(20));\n\nDROP TABLE orders;\n"),
        ("v2__b.sql", "SELECT 1;\n"),
    ]);
    let lint = async |folder: &Path, more: &[&str]| {
        let arguments = [&["migration", "lint", folder.to_str().unwrap()], more].concat();
        // No server is asked, and none is known.
        let output = run(&std::env::temp_dir(), &arguments, &Variables::new(), "").await;
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, out, _) = lint(&bad, &[]).await;
    assert_eq!(code, Some(1));
    let lines: Vec<_> = out.lines().collect();
    assert!(lines[0].starts_with("V1__a.sql:1: varchar-limit: name varchar(20): "), "{out}");
    assert!(lines[1].starts_with("    advice; instead: text with a named CHECK"), "{out}");
    assert!(lines[2].starts_with("V1__a.sql:3: drop-table: orders: "), "{out}");
    assert!(lines[4].starts_with("V1__a.sql:3: contract: orders: "), "{out}");
    assert!(lines[6].starts_with("v2__b.sql:1: file-name: "), "{out}");
    assert_eq!(lines.last(), Some(&"2 errors, 2 warnings and pieces of advice"));
    let (code, out, _) = lint(&bad, &["-o", "json"]).await;
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &told["errors"]), (Some(1), &2.into()));
    let first = &told["findings"][0];
    assert_eq!((&first["file"], &first["line"], &first["level"]), (&"V1__a.sql".into(), &1.into(), &"advice".into()));

    let good = folder(&[("V1__a.sql", "CREATE TABLE a (id uuid PRIMARY KEY, name varchar(20));\n")]);
    assert_eq!(lint(&good, &[]).await.0, Some(0), "advice does not fail");
    let (code, _, err) = lint(Path::new("/nowhere"), &[]).await;
    assert!(code == Some(1) && err.contains("there is no folder /nowhere"), "{err}");
    for folder in [bad, good] {
        fs::remove_dir_all(folder).unwrap();
    }
}

/// A folder in which no `*.sql` file can be read as one.
fn unreadable() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("freehold-unreadable-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("V2__folder.sql")).unwrap();
    fs::write(folder.join("V1__latin.sql"), b"SELECT 1;\nSELECT '\xe4';").unwrap();
    fs::write(folder.join("V3__long.sql"), "SELECT 1; ".repeat(30_000)).unwrap();
    assert!(Command::new("mkfifo").arg(folder.join("V4__pipe.sql")).status().unwrap().success());
    for (name, target) in [("V5__zero.sql", "/dev/zero"), ("V6__gone.sql", "/nowhere")] {
        std::os::unix::fs::symlink(target, folder.join(name)).unwrap();
    }
    folder
}

#[tokio::test]
async fn files_that_cannot_be_read_are_told_in_sentences_and_hold_nothing_up() {
    let folder = unreadable();
    let nobody = Variables::from([
        ("FREEHOLD_URL".to_owned(), "http://127.0.0.1:9".to_owned()),
        ("FREEHOLD_API_KEY".to_owned(), "key".to_owned()),
    ]);
    let output = run(&folder, &["migration", "publish", "--dir", "."], &nobody, "").await;
    let (code, told) = (output.status.code(), String::from_utf8(output.stderr).unwrap());
    assert!(code == Some(1) && !told.contains("internal error"), "{told}");
    for (name, reason) in [
        ("V1__latin.sql", "line 2: there is something that is not UTF-8: save the file as UTF-8"),
        ("V2__folder.sql", "it is a folder"),
        ("V3__long.sql", "it is longer than 256 KiB"),
        ("V4__pipe.sql", "it is a device, a pipe or the like"),
        ("V5__zero.sql", "it is a device, a pipe or the like"),
        ("V6__gone.sql", "it cannot be read: No such file"),
    ] {
        assert!(told.contains(&format!("\n  {name}: {reason}")), "{name}: {told}");
    }
    let output = run(&folder, &["migration", "lint", "."], &Variables::new(), "").await;
    let found = String::from_utf8(output.stdout).unwrap();
    assert!(found.contains("V1__latin.sql:2: not-utf8: "), "{found}");
    for number in 2..=6 {
        assert!(
            found
                .lines()
                .any(|line| line.starts_with(&format!("V{number}__")) && line.contains(":1: file-unreadable: it ")),
            "{found}"
        );
    }
    fs::remove_dir_all(folder).unwrap();
}
