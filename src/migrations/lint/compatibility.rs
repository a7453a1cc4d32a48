//! The release before this one still runs on the database, and what is thrown away does not come back.

use super::{
    isolation::headline,
    known::{dropped_names, kind_name, made_name},
    rules::{
        DO_BLOCK, DROP_AND_CREATE, DROP_CASCADE, DROP_COLUMN, DROP_CONSTRAINT, DROP_DEFAULT, DROP_INDEX, DROP_NOT_NULL,
        DROP_OBJECT, DROP_SCHEMA, DROP_TABLE, DYNAMIC_SQL, RENAME, Rule, TRUNCATE, UNDO_LOSES_DATA,
    },
    scene::Scene,
    syntax::{Kind, words},
    tree::{column, has, literals, relation, text},
};

pub(super) fn check(scene: &mut Scene<'_>) {
    hidden(scene);
    drops(scene);
    if let Some(table) = scene.filled_table().filter(|_| scene.kind() == Kind::ALTER_TABLE) {
        actions(scene, &table);
    }
    if scene.undo {
        return;
    }
    renames(scene);
    if let Some(made) = made_name(scene.node).filter(|made| scene.known.file.dropped.contains(made))
        && kind_name(scene.kind()).starts_with("CREATE_")
    {
        scene.report_all(&DROP_AND_CREATE, made);
    }
}

/// What cannot be seen in the text.
fn hidden(scene: &mut Scene<'_>) {
    let node = scene.node;
    match scene.kind() {
        Kind::DO => scene.report_all(&DO_BLOCK, "DO"),
        Kind::EXECUTE | Kind::PREPARE | Kind::CALL => scene.report_all(&DYNAMIC_SQL, headline(node)),
        Kind::CREATE_FUNCTION | Kind::CREATE_PROCEDURE
            if literals(node).any(|body| words(&body).iter().any(|word| word == "execute")) =>
        {
            scene.report_all(&DYNAMIC_SQL, format!("EXECUTE in {}", headline(node)));
        }
        _ => {}
    }
}

fn drops(scene: &mut Scene<'_>) {
    let node = scene.node;
    let old: Vec<_> = dropped_names(node).into_iter().filter(|old| !scene.known.is_new(old)).collect();
    let what = old.join(", ");
    let mut truncated =
        node.descendants().filter_map(|inner| relation(&inner)).filter(|table| !scene.known.is_new(table));
    let rule: &'static Rule = match scene.kind() {
        Kind::TRUNCATE if truncated.next().is_some() => return scene.report_all(&TRUNCATE, headline(node)),
        kind if !kind_name(kind).starts_with("DROP_") || old.is_empty() => return,
        Kind::DROP_TABLE | Kind::DROP_MATERIALIZED_VIEW if scene.undo => &UNDO_LOSES_DATA,
        Kind::DROP_TABLE => &DROP_TABLE,
        Kind::DROP_SCHEMA => &DROP_SCHEMA,
        _ if scene.undo => return,
        Kind::DROP_INDEX => &DROP_INDEX,
        Kind::DROP_TRIGGER | Kind::DROP_RULE => &DROP_CONSTRAINT,
        Kind::DROP_POLICY => return,
        _ => &DROP_OBJECT,
    };
    scene.report_all(rule, what.clone());
    if has(node, Kind::CASCADE) {
        scene.report_all(&DROP_CASCADE, what);
    }
}

fn actions(scene: &mut Scene<'_>, table: &str) {
    let node = scene.node;
    for action in node.children() {
        let rule = match action.kind() {
            Kind::DROP_COLUMN if scene.undo => &UNDO_LOSES_DATA,
            Kind::DROP_COLUMN => &DROP_COLUMN,
            _ if scene.undo => continue,
            Kind::DROP_CONSTRAINT => &DROP_CONSTRAINT,
            Kind::ALTER_COLUMN if has(&action, Kind::DROP_NOT_NULL) => &DROP_NOT_NULL,
            Kind::ALTER_COLUMN if has(&action, Kind::DROP_DEFAULT) => &DROP_DEFAULT,
            _ => continue,
        };
        let named = match action.kind() {
            Kind::DROP_CONSTRAINT => text(&action),
            _ => format!("{table}.{}", column(&action)),
        };
        scene.report(rule, &action, named.clone());
        if has(&action, Kind::CASCADE) {
            scene.report(&DROP_CASCADE, &action, named);
        }
    }
}

fn renames(scene: &mut Scene<'_>) {
    let node = scene.node;
    let is_new = relation(node).is_some_and(|table| scene.known.is_new(&table));
    if is_new || !kind_name(scene.kind()).starts_with("ALTER_") {
        return;
    }
    for action in node.children() {
        let kind = kind_name(action.kind());
        let is_rename = kind.contains("RENAME") || action.kind() == Kind::SET_SCHEMA;
        // Programs know constraints and unique indexes by name: it is what PostgreSQL says was broken.
        let harmless = ["TRIGGER_RENAME_TO", "POLICY_RENAME_TO", "RULE_RENAME_TO", "ROLE_RENAME_TO"];
        if is_rename && !harmless.contains(&kind.as_str()) {
            scene.report(&RENAME, &action, text(&action));
        }
    }
}
