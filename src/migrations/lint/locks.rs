//! Statements that keep others waiting: indexes, rewrites of whole tables, what runs while a lock is held.

use super::{
    isolation::headline,
    rules::{
        ADD_TRIGGER, AFTER_LOCK, ALTER_SPLIT, FULL_REWRITE, INDEX_LOCK, LOCK_TABLE, PARTITION_ATTACH, PARTITION_DETACH,
        REFRESH_LOCK, STORAGE_REWRITE, UNIQUE_INDEX, WHOLE_TABLE, WRITE_WITH_DDL,
    },
    running::is_concurrent_reindex,
    scene::Scene,
    syntax::{Kind, Node},
    tree::{children, holds, name, relation, restricts, says, text},
};
use crate::migrations::marker::Mode;

pub(super) fn check(scene: &mut Scene<'_>) {
    statement(scene);
    storage(scene);
    partitions(scene);
    writes(scene);
    after_lock(scene);
}

fn statement(scene: &mut Scene<'_>) {
    let node = scene.node;
    let named = scene.filled_table();
    let rule = match scene.kind() {
        Kind::CREATE_INDEX => return create_index(scene),
        Kind::DROP_INDEX if !says(node, "concurrently") => {
            let is_filled = |index: Node| !scene.known.is_new(&name(&index));
            if !children(node, Kind::INDEX_REF).any(is_filled) {
                return;
            }
            &INDEX_LOCK
        }
        Kind::REINDEX if !is_concurrent_reindex(node) => &INDEX_LOCK,
        Kind::REFRESH if !says(node, "concurrently") && named.is_some() => &REFRESH_LOCK,
        Kind::VACUUM if text(node).split(|c: char| !c.is_alphanumeric()).any(|word| word == "full") => &FULL_REWRITE,
        Kind::CLUSTER => &FULL_REWRITE,
        Kind::LOCK if named.is_some() => &LOCK_TABLE,
        Kind::CREATE_TRIGGER | Kind::CREATE_RULE if named.is_some() => &ADD_TRIGGER,
        _ => return,
    };
    scene.report_all(rule, named.unwrap_or_else(|| headline(node)));
}

fn create_index(scene: &mut Scene<'_>) {
    let (node, Some(table)) = (scene.node, scene.filled_table()) else { return };
    if !says(node, "concurrently") {
        scene.report_all(&INDEX_LOCK, table.clone());
    }
    if says(node, "unique") {
        scene.report_all(&UNIQUE_INDEX, table);
    }
}

fn storage(scene: &mut Scene<'_>) {
    let node = scene.node;
    let alters = matches!(scene.kind(), Kind::ALTER_TABLE | Kind::ALTER_MATERIALIZED_VIEW | Kind::ALTER_INDEX);
    let kinds = [Kind::SET_LOGGED, Kind::SET_UNLOGGED, Kind::SET_ACCESS_METHOD, Kind::SET_TABLESPACE];
    if alters && (scene.kind() == Kind::ALTER_INDEX || scene.filled_table().is_some()) {
        for action in node.children().filter(|action| kinds.contains(&action.kind())) {
            scene.report(&STORAGE_REWRITE, &action, text(&action));
        }
    }
}

fn partitions(scene: &mut Scene<'_>) {
    let node = scene.node;
    if scene.kind() != Kind::ALTER_TABLE || scene.filled_table().is_none() {
        return;
    }
    for action in children(node, Kind::DETACH_PARTITION) {
        scene.report(&PARTITION_DETACH, &action, text(&action));
    }
    for action in children(node, Kind::ATTACH_PARTITION) {
        let partition = relation(&action).unwrap_or_default();
        let checks = scene.known.tables.get(&partition).map(|table| table.checks.as_slice()).unwrap_or_default();
        if !scene.known.is_new(&partition) && !checks.iter().any(|check| check.validated) {
            scene.report(&PARTITION_ATTACH, &action, text(&action));
        }
    }
}

/// Rows that are changed or removed in a transaction of their own size.
fn writes(scene: &mut Scene<'_>) {
    let node = scene.node;
    for inner in node.descendants().filter(|inner| matches!(inner.kind(), Kind::UPDATE | Kind::DELETE | Kind::MERGE)) {
        let Some(table) = relation(&inner).filter(|table| !scene.known.is_new(table)) else { continue };
        if in_routine(&inner) || scene.mode == Mode::Batched {
            continue;
        }
        if inner.kind() != Kind::MERGE && !restricts(&inner) {
            scene.report(&WHOLE_TABLE, &inner, table);
        } else if !scene.known.file.locked.is_empty() {
            scene.report(&WRITE_WITH_DDL, &inner, table);
        }
    }
}

/// Whether it is in the body of a function or rule, and so does not run now.
fn in_routine(node: &Node) -> bool {
    let bodies = [Kind::ATOMIC_BODY, Kind::CREATE_RULE];
    node.ancestors().any(|up| bodies.contains(&up.kind()))
}

fn after_lock(scene: &mut Scene<'_>) {
    let node = scene.node;
    let locked = &scene.known.file.locked;
    if locked.is_empty() || scene.mode != Mode::Transaction {
        return;
    }
    let named = relation(node);
    let on_new_table = scene.kind() == Kind::CREATE_INDEX && scene.filled_table().is_none();
    let is_split = scene.kind() == Kind::ALTER_TABLE && named.as_ref().is_some_and(|table| locked.contains(table));
    if is_split && !holds(node, Kind::RENAME_COLUMN) {
        scene.report_all(&ALTER_SPLIT, named.unwrap_or_default());
    } else if !is_split && is_slow(scene.kind()) && !on_new_table {
        let tables = locked.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        scene.report_all(&AFTER_LOCK, format!("{} after {tables}", headline(node)));
    }
}

/// Whether a statement reads or writes rows, and so may take long.
fn is_slow(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::INSERT
            | Kind::UPDATE
            | Kind::DELETE
            | Kind::MERGE
            | Kind::SELECT
            | Kind::SELECT_INTO
            | Kind::CREATE_TABLE_AS
            | Kind::CREATE_MATERIALIZED_VIEW
            | Kind::REFRESH
            | Kind::CREATE_INDEX
            | Kind::REINDEX
            | Kind::COPY
            | Kind::CALL
            | Kind::DO
    )
}
