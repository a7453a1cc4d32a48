//! Every rule finds its danger, and nothing in the safe form; and the linter survives whatever it is given.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use proptest::prelude::*;

use super::{Finding, Level, RULES, files::File, lint, lint_directory, statements, undo_losses};
use crate::migrations::MigrationSet;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the corpus: what must be found, by rule and line.
struct Danger {
    name: String,
    text: String,
}

impl Danger {
    fn all() -> Vec<Self> {
        let entries = fs::read_dir(root().join("tests/dangers")).unwrap();
        let danger = |path: PathBuf| Self {
            name: path.file_name().unwrap().to_str().unwrap().to_owned(),
            text: fs::read_to_string(path).unwrap(),
        };
        let mut all: Vec<_> = entries.map(|entry| danger(entry.unwrap().path())).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// What its first line says: `-- finds: add-check:2, add-check:3`.
    fn expected(&self) -> Vec<String> {
        let line = self.text.lines().next().and_then(|line| line.strip_prefix("-- finds: ")).unwrap();
        let mut all: Vec<_> = line.split(", ").filter(|one| *one != "nothing").map(str::to_owned).collect();
        all.sort();
        all
    }

    /// The files in it: each begins after a line `-- file: V1__name.sql`; without such a line all of it is one.
    fn files(&self) -> Vec<(usize, File)> {
        let mut files = vec![(0, "V1__danger.sql".to_owned(), String::new())];
        for (index, line) in self.text.split_inclusive('\n').enumerate() {
            match line.trim_end().strip_prefix("-- file: ") {
                Some(name) if index == 1 => files = vec![(index + 1, name.to_owned(), String::new())],
                Some(name) => files.push((index + 1, name.to_owned(), String::new())),
                None => files.last_mut().unwrap().2.push_str(line),
            }
        }
        files.into_iter().map(|(line, name, text)| (line, File::of(name, text))).collect()
    }

    fn found(&self) -> Vec<String> {
        let (lines, files): (Vec<_>, Vec<_>) =
            self.files().into_iter().map(|(line, file)| ((file.name.clone(), line), file)).unzip();
        let line = |finding: &Finding| finding.line + lines.iter().find(|(name, _)| *name == finding.file).unwrap().1;
        let mut all: Vec<_> = lint(files).iter().map(|finding| format!("{}:{}", finding.rule, line(finding))).collect();
        all.sort();
        all
    }
}

#[test]
fn every_danger_is_found_at_its_line_and_nothing_else_is() {
    let all = Danger::all();
    let wrong: Vec<_> = all
        .iter()
        .map(|danger| (danger.name.as_str(), danger.expected(), danger.found()))
        .filter(|(_, expected, found)| expected != found)
        .map(|(name, _, found)| {
            format!("{name}\n-- finds: {}", if found.is_empty() { "nothing".to_owned() } else { found.join(", ") })
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let dangers = all.iter().filter(|danger| !danger.expected().is_empty()).count();
    assert!(dangers >= 60, "{dangers}");
    assert!(all.len() - dangers >= 40, "twins");
}

#[test]
fn every_rule_has_a_danger_of_its_own() {
    let mut found: BTreeSet<String> =
        Danger::all().iter().flat_map(Danger::expected).map(|one| one.split(':').next().unwrap().to_owned()).collect();
    // What no text in UTF-8 can show: see the folders below.
    found.extend(["byte-order-mark", "not-utf8", "nul-byte", "carriage-return", "file-unreadable"].map(str::to_owned));
    let missing: Vec<_> = RULES.iter().map(|rule| rule.name).filter(|name| !found.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn what_is_published_by_us_is_clean() {
    for folder in ["tenant-migrations/freehold", "tenant-migrations/product", "tests/guest/migrations"] {
        assert_eq!(lint_directory(&root().join(folder)).unwrap(), Vec::new(), "{folder}");
    }
}

/// The first cells of a table are the rules' names: the page shows exactly the table of the program.
#[test]
fn the_page_shows_every_rule_with_its_reason_and_safe_form() {
    let page = fs::read_to_string(root().join("docs/MIGRATIONS.md")).unwrap();
    let (_, rules) = page.split_once("\n### Rules\n").unwrap();
    let shown: Vec<_> = rules.lines().filter(|line| line.starts_with("| `")).collect();
    let row = |rule: &&super::Rule| {
        let level = rule.level.as_str();
        format!("| `{}` | {level} | {} | {} |", rule.name, rule.reason, rule.safe.replace('|', "\\|"))
    };
    let rows: Vec<_> = RULES.iter().map(row).collect();
    assert_eq!(shown, rows, "the rows should be:\n{}", rows.join("\n"));
}

/// A folder of its own, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn of(name: &str, files: &[(&str, &[u8])]) -> Self {
        let path = std::env::temp_dir().join(format!("freehold-lint-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        for (name, bytes) in files {
            fs::write(path.join(name), bytes).unwrap();
        }
        Self(path)
    }

    fn found(&self) -> Vec<String> {
        found(&self.0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn found(folder: &Path) -> Vec<String> {
    let shown = |finding: &Finding| format!("{}:{}: {}", finding.file, finding.line, finding.rule);
    lint_directory(folder).unwrap().iter().filter(|finding| finding.is_error()).map(shown).collect()
}

#[test]
fn bytes_that_no_database_should_see_are_told_with_file_and_line() {
    let long = b"SELECT 1; ".repeat(30_000);
    let folder = Folder::of(
        "bytes",
        &[
            ("V1__bom.sql", b"\xef\xbb\xbfSELECT 1;"),
            ("V2__crlf.sql", b"SELECT 1;\nSELECT 2;\r\n"),
            ("V3__nul.sql", b"SELECT 1;\n\nSELECT '\0';"),
            ("V4__latin.sql", b"SELECT 1;\nSELECT '\xe4';\nDROP TABLE orders;"),
            ("V5__long.sql", &long),
            ("v6__small.sql", b"DROP TABLE orders;"),
            ("V7__after.sql", b"SELECT 1;"),
            ("notes.txt", b"\xff"),
        ],
    );
    fs::create_dir(folder.0.join("V9__folder.sql")).unwrap();
    assert_eq!(
        folder.found(),
        [
            "V1__bom.sql:1: byte-order-mark",
            "V2__crlf.sql:2: carriage-return",
            "V3__nul.sql:3: nul-byte",
            "V4__latin.sql:2: not-utf8",
            "V4__latin.sql:3: drop-table",
            "V5__long.sql:1: file-unreadable",
            "V7__after.sql:1: version-gap",
            "V9__folder.sql:1: file-unreadable",
            "V9__folder.sql:1: version-gap",
            "v6__small.sql:1: file-name",
            "v6__small.sql:1: drop-table",
        ]
    );
}

#[test]
fn bad_sets_are_refused_with_file_and_line() {
    let folder = Folder::of(
        "sets",
        &[
            ("V1__a.sql", b"SELECT 1;"),
            ("V1__b.sql", b"SELECT 1;"),
            ("V3__syntax.sql", b"SELECT 1;\n\nCREATE TABL x ();"),
            ("V4__two.sql", b"-- freehold:no-transaction\nVACUUM a;\nVACUUM b;"),
            ("V5__commit.sql", b"SELECT 1;\nCOMMIT;"),
            ("V6__role.sql", b"CREATE ROLE intruder;"),
            ("V7__system.sql", b"-- freehold:no-transaction\nALTER SYSTEM SET work_mem = 1;"),
            ("V8__copy.sql", b"COPY a FROM PROGRAM 'x';"),
            ("V9__drop.sql", b"-- freehold:no-transaction\n\nDROP DATABASE acme;"),
            ("V10__do.sql", b"-- What for?\nDO $$ BEGIN END $$;"),
            ("V11__definer.sql", b"CREATE FUNCTION f() RETURNS int LANGUAGE sql\n  SECURITY DEFINER\n  AS 'SELECT 1';"),
        ],
    );
    assert_eq!(
        folder.found(),
        [
            "V1__b.sql:1: duplicate-version",
            "V3__syntax.sql:1: version-gap",
            "V3__syntax.sql:3: syntax",
            "V4__two.sql:3: no-transaction-one-statement",
            "V5__commit.sql:2: transaction-control",
            "V6__role.sql:1: role-change",
            "V7__system.sql:2: alter-system",
            "V8__copy.sql:1: copy-program",
            "V9__drop.sql:3: drop-database",
            "V10__do.sql:2: do-block",
            "V11__definer.sql:2: security-definer",
        ]
    );
}

/// What would let a parser that descends run out of its stack.
#[test]
fn what_is_nested_without_end_is_a_finding() {
    let body = |inner: &str| format!("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $${inner}$$;");
    let endless = ENDLESS.map(|(open, close, _)| nested(open, close, 8_000));
    let others = [
        format!("SELECT * FROM a {};", "JOIN b ON true ".repeat(10_000)),
        body(&nested("(", ")", 8_000)),
        "BEGIN ATOMIC ".repeat(10_000),
        "(".repeat(100_000),
    ];
    for sql in endless.into_iter().chain(others) {
        let findings = lint(vec![File::of("V1__deep.sql".to_owned(), sql.clone())]);
        let told = findings.iter().any(|finding| finding.rule == "syntax" && finding.level == Level::Error);
        assert!(told, "{sql:.60}: {findings:?}");
    }
}

/// Up to the bound the stack holds, also where nothing is optimised; and what is only long is no matter.
#[test]
fn what_is_nested_deeply_is_read() {
    for (open, close, tokens) in ENDLESS {
        let _ = lint(vec![File::of("V1__deep.sql".to_owned(), nested(open, close, 3_980 / tokens))]);
    }
    let rows = format!("INSERT INTO a (b) VALUES {} (1);", "(1 + 2), ".repeat(20_000));
    assert_eq!(lint(vec![File::of("V1__long.sql".to_owned(), rows)]), Vec::new());
}

/// What may be nested: before and after, and how many tokens of a level count.
const ENDLESS: [(&str, &str, usize); 12] = [
    ("(", ")", 2),
    ("", "+1", 2),
    ("NOT ", "", 1),
    ("- ", "", 1),
    ("CASE WHEN ", " THEN 1 END", 5),
    ("ARRAY[", "]", 3),
    ("(SELECT ", ")", 3),
    ("f(", ")", 3),
    ("x -> ", "", 3),
    ("", "::int", 3),
    ("", " UNION SELECT 1", 3),
    ("", "[1]", 2),
];

fn nested(open: &str, close: &str, times: usize) -> String {
    format!("SELECT {}1{};", open.repeat(times), close.repeat(times))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_bytes_make_it_fail(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = lint(vec![File::of("V1__any.sql".to_owned(), String::from_utf8_lossy(&bytes).into_owned())]);
    }

    /// Statements that are cut, doubled and mixed: what people have while they type.
    #[test]
    fn no_broken_statement_makes_it_fail(cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<u16>(), any::<u16>()), 1..6)) {
        let all = Danger::all();
        let mut text = String::new();
        for (which, from, length) in cuts {
            let whole: Vec<_> = which.get(&all).text.chars().collect();
            let from = usize::from(from) % whole.len();
            text.extend(whole.iter().skip(from).take(usize::from(length) % whole.len()));
        }
        let findings = lint(vec![File::of("V1__cut.sql".to_owned(), text.clone())]);
        let failed = findings.iter().any(|finding| finding.message.contains("gave up") || finding.message.contains("the linter failed"));
        prop_assert!(!failed, "{text}");
    }
}

#[test]
fn what_an_undo_file_loses_is_told_though_it_is_waived() {
    let files = [
        ("V1__a.sql", "CREATE TABLE orders (id uuid PRIMARY KEY, note text, more text)"),
        ("V2__b.sql", "ALTER TABLE orders ADD COLUMN other text"),
        (
            "U2__b.sql",
            "ALTER TABLE orders DROP COLUMN note;\n-- freehold:allow undo-loses-data: nobody has written it\n\
             ALTER TABLE orders DROP COLUMN other",
        ),
    ];
    let set = MigrationSet::parse(files.map(|(name, sql)| (name.to_owned(), sql.to_owned()))).unwrap();
    let losses = undo_losses(&set);
    assert_eq!(losses.iter().map(|loss| loss.line).collect::<Vec<_>>(), [1, 3]);
    assert!(!losses[0].message.contains("waived"), "{losses:?}");
    assert!(losses[1].message.ends_with("; waived: nobody has written it"), "{losses:?}");
}

#[test]
fn a_select_that_makes_a_table_is_known() {
    let text =
        "SELECT 1 INTO a; WITH b AS (SELECT 2) SELECT * INTO c FROM b;\nWITH b AS (SELECT 2) INSERT INTO c TABLE b";
    let found: Vec<_> = statements(text).iter().map(|statement| (statement.line, statement.is_select_into)).collect();
    assert_eq!(found, [(1, true), (1, true), (2, false)]);
}
