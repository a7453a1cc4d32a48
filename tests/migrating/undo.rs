//! The way back, file by file.

use freehold::{
    migrations::{Limits, MigrationSet, Outcome, TenantSchema, WayBack, undo_tenant},
    operations::schema::ROLES,
    types::SchemaVersions,
};
use serde_json::{Value, json};

use super::subject::{Subject, applied};
use crate::{
    harness::fleet,
    migrations::{MIGRATIONS, published, set, waived},
};

const FILES: [&str; 3] = ["CREATE TABLE a (id int)", "CREATE TABLE b (id int)", "ALTER TABLE a ADD more text"];

/// The sets, with undo files of the product's versions (from 0) that a test adds.
fn with_undo(subject: &Subject<'_>, undo: &[(i32, &str)]) -> TenantSchema {
    let schema = subject.schema(&FILES);
    let mut texts: Vec<_> = schema.product.texts().into_iter().map(|(name, sql)| (name, sql.to_owned())).collect();
    texts.extend(
        undo.iter().map(|(number, sql)| (format!("U{}__more.sql", subject.version(*number)), (*sql).to_owned())),
    );
    TenantSchema { product: MigrationSet::parse(texts).unwrap(), ..schema }
}

async fn undo(
    subject: &Subject<'_>,
    schema: &TenantSchema,
    target: SchemaVersions,
) -> freehold::error::Result<Outcome> {
    undo_by(subject, schema, WayBack { from_at_most: i32::MAX, to: target.product }).await
}

async fn undo_by(subject: &Subject<'_>, schema: &TenantSchema, way: WayBack) -> freehold::error::Result<Outcome> {
    undo_tenant(&mut subject.session().await, schema, way, &ROLES, &Limits::default()).await
}

#[tokio::test]
async fn files_are_undone_one_by_one_and_done_again() {
    let fleet = fleet::alone().await;
    let subject = Subject::make(&fleet).await;
    let database = subject.database();
    let schema = with_undo(&subject, &[(1, "DROP TABLE b"), (2, "ALTER TABLE a DROP more")]);
    subject.apply_all(&schema, &Limits::default()).await.unwrap();

    let refusal = undo(&subject, &schema, subject.versions(0)).await.unwrap_err();
    assert_eq!(refusal.code(), "undo_missing");
    assert!(refusal.to_string().contains(&format!("V{}__more.sql has no undo file", subject.version(0))), "{refusal}");
    assert_eq!(database.value::<i32>("SELECT max(version) FROM refinery_schema_history").await, subject.version(2));
    let older = TenantSchema { product: schema.product.up_to(subject.version(1)), ..schema.clone() };
    assert_eq!(undo(&subject, &older, subject.versions(1)).await.unwrap_err().code(), "undo_missing");

    let way = WayBack { from_at_most: subject.version(1), to: subject.version(0) };
    let refusal = undo_by(&subject, &schema, way).await.unwrap_err();
    assert_eq!(refusal.code(), "newer_version", "somebody else took it further: {refusal}");
    assert_eq!(database.value::<i32>("SELECT max(version) FROM refinery_schema_history").await, subject.version(2));

    let outcome = undo(&subject, &schema, subject.versions(1)).await.unwrap();
    assert_eq!(
        (applied(&outcome), outcome.from, outcome.to),
        (vec![subject.version(2), subject.version(1)], subject.versions(3), subject.versions(1))
    );
    assert!(!database.value::<bool>("SELECT to_regclass('b') IS NOT NULL").await);
    assert_eq!(applied(&undo(&subject, &schema, subject.versions(2)).await.unwrap()), [0; 0], "it is not beyond");
    let outcome = subject.apply_all(&schema, &Limits::default()).await.unwrap();
    assert_eq!(applied(&outcome), [subject.version(1), subject.version(2)]);

    let bad = with_undo(&subject, &[(1, "DROP TABLE a; DROP TABLE b; COMMIT"), (2, "ALTER TABLE a DROP more")]);
    let refusal = undo(&subject, &bad, subject.versions(1)).await.unwrap_err();
    assert_eq!(refusal.code(), "migration_refused");
    assert!(refusal.to_string().starts_with(&format!("U{}__more.sql: ", subject.version(1))), "{refusal}");
    let now = "SELECT max(version) || ' ' || (to_regclass('b') IS NOT NULL) FROM refinery_schema_history";
    assert_eq!(
        database.value::<String>(now).await,
        format!("{} true", subject.version(1)),
        "the one before it is undone"
    );
    subject.finish().await;
}

#[tokio::test]
async fn an_undo_file_is_tried_published_later_and_never_changed() {
    let fleet = fleet::alone().await;
    let (operator, files) = (fleet.operator(), published(&fleet).await);
    let next = files.len() + 1;
    let file = |letter: char, sql: &str| (format!("{letter}{next}__undoable.sql"), sql.to_owned());
    let (made, undone) = (
        file('V', "CREATE TABLE undoable (id int); CREATE TYPE mood AS ENUM ('good')"),
        file('U', "DROP TABLE undoable; DROP TYPE mood"),
    );
    let with = |undo: &(String, String)| {
        let mut with = set(&files, &made.0, &made.1);
        with["files"].as_array_mut().unwrap().push(json!({ "name": undo.0, "sql": undo.1 }));
        with
    };
    let bare = set(&files, &made.0, &made.1);
    for (undo, told) in [
        (file('U', "DROP TABLE undoable"), "public.mood"),
        (file('U', "DROP TABLE nowhere"), "does not exist"),
        (
            file(
                'U',
                &waived(&[("", "DROP TABLE undoable"), ("", "DROP TYPE mood"), ("transaction-control", "COMMIT")]),
            ),
            "may not begin or end a transaction",
        ),
    ] {
        let answer = operator.post(MIGRATIONS, &with(&undo)).await;
        answer.wrong_field("files", "does_not_apply");
        assert!(answer.text().contains(told), "{}", answer.text());
    }
    let place = format!("files[{next}].name");
    let alone = (format!("U{next}__another.sql"), undone.1.clone());
    operator.post(MIGRATIONS, &with(&alone)).await.wrong_field(&place, "undo_unmatched");
    assert_eq!(operator.post(MIGRATIONS, &bare).await.expect(200), json!({ "version": next, "added": 1 }));
    assert!(!is_undoable(&operator.get(MIGRATIONS).await.expect(200), next));
    fleet.tenant().await;
    assert_eq!(operator.post(MIGRATIONS, &with(&undone)).await.expect(200), json!({ "version": next, "added": 1 }));
    assert!(is_undoable(&operator.get(MIGRATIONS).await.expect(200), next));
    for known in [with(&undone), bare] {
        assert_eq!(operator.post(MIGRATIONS, &known).await.expect(200), json!({ "version": next, "added": 0 }));
    }
    let changed = (undone.0, format!("{} -- changed", undone.1));
    operator.post(MIGRATIONS, &with(&changed)).await.problem(409, "migrations_diverged");
    fleet.tenant().await;
    fleet.assert_clean().await;
}

fn is_undoable(listed: &Value, version: usize) -> bool {
    let items = listed["items"].as_array().unwrap();
    let file = items.iter().find(|file| file["stream"] == "product" && file["version"] == version).unwrap();
    assert_eq!(file["name"], format!("V{version}__undoable.sql"));
    file["undoable"].as_bool().unwrap()
}
