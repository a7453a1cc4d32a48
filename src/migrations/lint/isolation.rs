//! A migration stays inside its tenant's database and under its tenant's owner. The rights of the role that it runs as
//! are the wall; these rules say the same before anything runs.

use super::{
    known::kind_name,
    rules::{
        ADVISORY_LOCK, ALTER_SYSTEM, COPY_FILE, COPY_PROGRAM, COPY_STREAM, DATABASE_SETTING, DEFAULT_PRIVILEGES,
        DROP_DATABASE, EXTENSION, EXTENSION_CHANGE, FREEHOLD_SCHEMA, GRANT_CHANGE, GRANT_PUBLIC, LISTEN, LOAD_LIBRARY,
        OUTSIDE_REACH, OWNER_CHANGE, POLICY_CHANGE, ROLE_CHANGE, SECURITY_DEFINER, SERVER_FUNCTION, SET_ROLE,
        UNTRUSTED_LANGUAGE,
    },
    scene::Scene,
    syntax::{Kind, Node},
    tree::{calls, child, children, has, holds, inside, literals, name, names, relation, text},
};

/// The extensions that PostgreSQL 15 to 18 mark as trusted.
const TRUSTED: [&str; 20] = [
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "dict_int",
    "fuzzystrmatch",
    "hstore",
    "intarray",
    "isn",
    "lo",
    "ltree",
    "pg_trgm",
    "pgcrypto",
    "plpgsql",
    "seg",
    "tablefunc",
    "tcn",
    "tsm_system_rows",
    "unaccent",
    "uuid-ossp",
];
/// To whom everything in a tenant's database belongs.
const OWNER: &str = "freehold_owner";
const LANGUAGES: [&str; 2] = ["sql", "plpgsql"];
/// Beginnings of the names of functions that reach out of the database.
const SERVER_FUNCTIONS: [&str; 12] = [
    "pg_read_file",
    "pg_read_binary_file",
    "pg_ls_",
    "pg_stat_file",
    "lo_import",
    "lo_export",
    "dblink",
    "pg_terminate_backend",
    "pg_cancel_backend",
    "pg_reload_conf",
    "pg_switch_wal",
    "pg_create_",
];

pub(super) fn check(scene: &mut Scene<'_>) {
    statement(scene);
    copy(scene);
    functions(scene);
    privileges(scene);
    extensions(scene);
    routines(scene);
    let node = scene.node;
    for owner in inside(node, Kind::OWNER_TO).filter(|owner| !names(owner, Kind::ROLE_REF).contains(&OWNER.to_owned()))
    {
        scene.report(&OWNER_CHANGE, &owner, text(&owner));
    }
}

fn statement(scene: &mut Scene<'_>) {
    let node = scene.node;
    let sets = has(node, Kind::SET_CONFIG_PARAM) || has(node, Kind::RESET_CONFIG_PARAM);
    let rule = match scene.kind() {
        kind if changes_relations(kind) && is_freeholds(scene) => &FREEHOLD_SCHEMA,
        Kind::ALTER_ROLE | Kind::ALTER_USER if sets => &DATABASE_SETTING,
        Kind::ALTER_DATABASE if !has(node, Kind::OWNER_TO) => &DATABASE_SETTING,
        kind if changes_roles(kind) => &ROLE_CHANGE,
        Kind::GRANT | Kind::REVOKE if !has(node, Kind::ON_PRIVILEGE_OBJECTS_CLAUSE) => &ROLE_CHANGE,
        Kind::ALTER_SYSTEM => &ALTER_SYSTEM,
        Kind::LOAD => &LOAD_LIBRARY,
        Kind::LISTEN | Kind::UNLISTEN => &LISTEN,
        Kind::CREATE_DATABASE | Kind::DROP_DATABASE => &DROP_DATABASE,
        Kind::SET_ROLE | Kind::RESET_ROLE | Kind::SET_SESSION_AUTH | Kind::RESET_SESSION_AUTH => &SET_ROLE,
        Kind::ALTER_DEFAULT_PRIVILEGES => &DEFAULT_PRIVILEGES,
        Kind::CREATE_LANGUAGE | Kind::ALTER_LANGUAGE => &UNTRUSTED_LANGUAGE,
        Kind::CREATE_POLICY | Kind::ALTER_POLICY | Kind::DROP_POLICY if scene.filled_table().is_some() => {
            &POLICY_CHANGE
        }
        kind if is_of_the_server(kind) || writes_catalogue(node) => &OUTSIDE_REACH,
        Kind::CREATE_SCHEMA if holds(node, Kind::ROLE_REF) => &OWNER_CHANGE,
        Kind::ALTER_TABLE => return row_security(scene),
        _ => return,
    };
    scene.report_all(rule, headline(node));
}

fn changes_roles(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::CREATE_ROLE
            | Kind::CREATE_USER
            | Kind::CREATE_GROUP
            | Kind::ALTER_ROLE
            | Kind::ALTER_USER
            | Kind::ALTER_GROUP
            | Kind::DROP_ROLE
            | Kind::DROP_USER
            | Kind::DROP_GROUP
            | Kind::REASSIGN
            | Kind::DROP_OWNED
    )
}

fn row_security(scene: &mut Scene<'_>) {
    let (node, is_filled) = (scene.node, scene.filled_table().is_some());
    let kinds = [Kind::ENABLE_RLS, Kind::DISABLE_RLS, Kind::FORCE_RLS, Kind::NO_FORCE_RLS];
    for action in node.children().filter(|action| is_filled && kinds.contains(&action.kind())) {
        scene.report(&POLICY_CHANGE, &action, text(&action));
    }
}

/// The first words of a statement.
pub(super) fn headline(node: &Node) -> String {
    let words: Vec<_> = text(node).split(' ').take(4).map(str::to_owned).collect();
    words.join(" ").trim_end_matches([';', ' ', '(']).to_owned()
}

fn is_of_the_server(kind: Kind) -> bool {
    let name = kind_name(kind);
    let Some((verb, noun)) = name.split_once('_') else { return false };
    let nouns = [
        "TABLESPACE",
        "SUBSCRIPTION",
        "PUBLICATION",
        "SERVER",
        "FOREIGN_DATA_WRAPPER",
        "FOREIGN_TABLE",
        "USER_MAPPING",
        "EVENT_TRIGGER",
        "ACCESS_METHOD",
    ];
    matches!(verb, "CREATE" | "ALTER" | "DROP") && nouns.contains(&noun) || kind == Kind::IMPORT_FOREIGN_SCHEMA
}

fn writes_catalogue(node: &Node) -> bool {
    let writes = matches!(node.kind(), Kind::INSERT | Kind::UPDATE | Kind::DELETE | Kind::MERGE);
    let is_catalogue = |name: String| name.starts_with("pg_") || name.starts_with("information_schema.");
    writes && relation(node).is_some_and(is_catalogue)
}

/// Whether the statement is about a table of Freehold's, which another set has made than this one.
fn is_freeholds(scene: &Scene<'_>) -> bool {
    let node = scene.node;
    let of_rule = child(node, Kind::RULE_ON);
    // What a rule does is a statement of its own.
    let writes = |inner: &Node| matches!(inner.kind(), Kind::INSERT | Kind::UPDATE | Kind::DELETE | Kind::MERGE);
    let actions = node.descendants().filter(|inner| of_rule.is_some() && writes(inner));
    let named = relation(node).into_iter().chain(of_rule.iter().filter_map(relation));
    let mut named = named.chain(actions.filter_map(|action| relation(&action)));
    let is_made = |name: &str| scene.known.tables.get(name).is_some_and(|table| table.is_made);
    named.any(|name| name.starts_with("freehold.") && !is_made(&name))
}

fn changes_relations(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::INSERT
            | Kind::UPDATE
            | Kind::DELETE
            | Kind::MERGE
            | Kind::TRUNCATE
            | Kind::ALTER_TABLE
            | Kind::CREATE_INDEX
            | Kind::CREATE_TRIGGER
            | Kind::CREATE_RULE
            | Kind::CREATE_POLICY
    )
}

fn copy(scene: &mut Scene<'_>) {
    let node = scene.node;
    if scene.kind() != Kind::COPY {
        return;
    }
    let written = text(node);
    let target = node.children().find(|child| matches!(child.kind(), Kind::COPY_FROM | Kind::COPY_TO));
    let streams = holds(node, Kind::COPY_STDIN) || holds(node, Kind::COPY_STDOUT);
    let runs = target.is_some_and(|target| text(&target).contains(" program "));
    scene.report_all(
        if runs {
            &COPY_PROGRAM
        } else if streams {
            &COPY_STREAM
        } else {
            &COPY_FILE
        },
        written,
    );
}

fn functions(scene: &mut Scene<'_>) {
    let node = scene.node;
    for (name, call) in calls(node) {
        let first = literals(&call).next().unwrap_or_default();
        if name.starts_with("pg_advisory") || name.starts_with("pg_try_advisory") {
            scene.report(&ADVISORY_LOCK, &call, name);
        } else if SERVER_FUNCTIONS.iter().any(|known| name.starts_with(known)) {
            scene.report(&SERVER_FUNCTION, &call, name);
        } else if name == "set_config" && matches!(first.as_str(), "role" | "session_authorization") {
            scene.report(&SET_ROLE, &call, text(&call));
        }
    }
}

fn privileges(scene: &mut Scene<'_>) {
    let node = scene.node;
    let Some(on) = child(node, Kind::ON_PRIVILEGE_OBJECTS_CLAUSE) else { return };
    let to: Vec<_> = children(node, Kind::ROLE_REF_LIST).flat_map(|list| names(&list, Kind::ROLE_REF)).collect();
    if scene.kind() == Kind::GRANT && to.iter().any(|role| role == "public") {
        return scene.report_all(&GRANT_PUBLIC, text(&on));
    }
    let objects =
        inside(&on, Kind::PATH_REF).filter(|path| path.parent().is_some_and(|up| up.kind() != Kind::PATH_REF));
    let mut objects = objects.map(|path| name(&path)).peekable();
    if objects.peek().is_none() || objects.any(|object| !scene.known.is_new(&object)) {
        scene.report_all(&GRANT_CHANGE, text(&on));
    }
}

fn extensions(scene: &mut Scene<'_>) {
    let node = scene.node;
    match scene.kind() {
        Kind::CREATE_EXTENSION => {
            let named = child(node, Kind::EXTENSION).map(|extension| name(&extension)).unwrap_or_default();
            if !TRUSTED.contains(&named.as_str()) {
                scene.report_all(&EXTENSION, named);
            }
        }
        Kind::ALTER_EXTENSION => scene.report_all(&EXTENSION_CHANGE, headline(node)),
        _ => {}
    }
}

fn routines(scene: &mut Scene<'_>) {
    let node = scene.node;
    for language in inside(node, Kind::LANGUAGE_REF) {
        let named = name(&language).trim_matches('\'').to_owned();
        let makes = matches!(scene.kind(), Kind::CREATE_FUNCTION | Kind::CREATE_PROCEDURE | Kind::DO);
        if makes && !LANGUAGES.contains(&named.as_str()) {
            scene.report(&UNTRUSTED_LANGUAGE, &language, named);
        }
    }
    for definer in inside(node, Kind::SECURITY_DEFINER_FUNC_OPTION) {
        let pins = |option: Node| names(&option, Kind::CONFIG_PARAMETER_REF).iter().any(|name| name == "search_path");
        if !inside(node, Kind::SET_CONFIG_PARAM).any(pins) {
            scene.report(&SECURITY_DEFINER, &definer, headline(node));
        }
    }
}
