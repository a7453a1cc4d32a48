//! How a file is run: markers, transactions, time-outs, settings.

use super::{
    isolation::headline,
    rules::{
        BATCHED_ENDLESS, BATCHED_STATEMENT, NEEDS_NO_TRANSACTION, NO_TRANSACTION_NEEDLESS, NOT_REPEATABLE,
        SESSION_SETTING, SET_ROLE, TIMEOUT_OVERRIDE, TRANSACTION_CONTROL,
    },
    scene::Scene,
    syntax::{Kind, Node},
    tree::{calls, has, holds, inside, literals, name, restricts, says, text},
};
use crate::migrations::marker::Mode;

const TIMEOUTS: [&str; 6] = [
    "lock_timeout",
    "statement_timeout",
    "transaction_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "deadlock_timeout",
];

pub(super) fn check(scene: &mut Scene<'_>) {
    transaction(scene);
    settings(scene);
    let needs_none = needs_no_transaction(scene.node);
    match scene.mode {
        Mode::Transaction if needs_none => scene.report_all(&NEEDS_NO_TRANSACTION, headline(scene.node)),
        Mode::NoTransaction if !needs_none => scene.report_all(&NO_TRANSACTION_NEEDLESS, headline(scene.node)),
        Mode::NoTransaction if !is_repeatable(scene.node) => scene.report_all(&NOT_REPEATABLE, headline(scene.node)),
        // A second statement is reported as such.
        Mode::Batched if scene.place.1 == 0 => batched(scene),
        _ => {}
    }
}

fn transaction(scene: &mut Scene<'_>) {
    let controls = matches!(
        scene.kind(),
        Kind::BEGIN
            | Kind::COMMIT_TRANSACTION
            | Kind::COMMIT_PREPARED
            | Kind::ROLLBACK_TRANSACTION
            | Kind::ROLLBACK_TO_SAVEPOINT
            | Kind::ROLLBACK_PREPARED
            | Kind::SAVEPOINT_CREATE
            | Kind::RELEASE_SAVEPOINT
            | Kind::PREPARE_TRANSACTION
            | Kind::SET_TRANSACTION
    );
    if controls {
        scene.report_all(&TRANSACTION_CONTROL, headline(scene.node));
    }
}

fn settings(scene: &mut Scene<'_>) {
    let node = scene.node;
    for (_, call) in calls(node).filter(|(name, _)| name == "set_config") {
        let values: Vec<_> = literals(&call).collect();
        let setting = values.first().map_or("", String::as_str);
        let is_local = values.last().is_some_and(|last| last.eq_ignore_ascii_case("true"));
        if TIMEOUTS.contains(&setting) {
            time_out(scene, &call, text(&call));
        } else if !is_local && !matches!(setting, "role" | "session_authorization") {
            scene.report(&SESSION_SETTING, &call, text(&call));
        }
    }
    if !matches!(scene.kind(), Kind::SET | Kind::RESET | Kind::DISCARD) {
        return;
    }
    let named = inside(node, Kind::CONFIG_PARAMETER_REF).next().map(|parameter| name(&parameter)).unwrap_or_default();
    if TIMEOUTS.contains(&named.as_str()) {
        time_out(scene, node, named);
    } else if matches!(named.as_str(), "role" | "session_authorization") {
        scene.report_all(&SET_ROLE, named);
    } else if !has(node, Kind::LOCAL_SCOPE) && !says(node, "local") {
        scene.report_all(&SESSION_SETTING, headline(node));
    }
}

/// What sets a time-out. The first file may: whatever it makes is new, and nobody waits for it.
fn time_out(scene: &mut Scene<'_>, node: &Node, what: String) {
    if !scene.is_first {
        scene.report(&TIMEOUT_OVERRIDE, node, what);
    }
}

/// Whether PostgreSQL refuses the statement inside a transaction.
pub(super) fn needs_no_transaction(node: &Node) -> bool {
    match node.kind() {
        Kind::CREATE_INDEX | Kind::DROP_INDEX => says(node, "concurrently"),
        Kind::REINDEX => {
            let whole = [Kind::REINDEX_TARGET_SCHEMA, Kind::REINDEX_TARGET_DATABASE, Kind::REINDEX_TARGET_SYSTEM];
            is_concurrent_reindex(node) || whole.iter().any(|kind| has(node, *kind))
        }
        Kind::VACUUM
        | Kind::ALTER_SYSTEM
        | Kind::CREATE_DATABASE
        | Kind::DROP_DATABASE
        | Kind::CREATE_TABLESPACE
        | Kind::DROP_TABLESPACE => true,
        _ => false,
    }
}

pub(super) fn is_concurrent_reindex(node: &Node) -> bool {
    text(node).split(|c: char| !c.is_alphanumeric()).any(|word| word == "concurrently")
}

/// Whether the statement may run again after it was done: an index that was made is found by its name.
fn is_repeatable(node: &Node) -> bool {
    match node.kind() {
        Kind::CREATE_INDEX => has(node, Kind::INDEX),
        Kind::DROP_INDEX => has(node, Kind::IF_EXISTS),
        _ => true,
    }
}

fn batched(scene: &mut Scene<'_>) {
    let node = scene.node;
    let selects = [Kind::SELECT, Kind::COMPOUND_SELECT, Kind::PAREN_SELECT].iter().any(|kind| has(node, *kind));
    let is_endless = match scene.kind() {
        Kind::UPDATE | Kind::DELETE => !restricts(node),
        Kind::INSERT if selects => !holds(node, Kind::WHERE_CLAUSE) && !has(node, Kind::ON_CONFLICT_CLAUSE),
        Kind::MERGE => false,
        _ => return scene.report_all(&BATCHED_STATEMENT, headline(node)),
    };
    if is_endless {
        scene.report_all(&BATCHED_ENDLESS, headline(node));
    }
    if !inside(node, Kind::LITERAL).any(|literal| text(&literal) == "$1") {
        scene.report_all(&BATCHED_STATEMENT, "there is no $1");
    }
}
