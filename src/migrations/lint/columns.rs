//! Columns and constraints of tables that may have rows: what reads or writes each of them under a lock.

use super::{
    rules::{
        ADD_CHECK, ADD_EXCLUSION, ADD_FOREIGN_KEY, ADD_GENERATED, ADD_NOT_NULL, ADD_PRIMARY_KEY, ADD_UNIQUE,
        CHANGE_TYPE, DOMAIN_CONSTRAINT, DOMAIN_CREATED, SET_NOT_NULL, VALIDATE_TOGETHER, VOLATILE_DEFAULT,
    },
    scene::Scene,
    syntax::{Kind, Node},
    tree::{calls, child, children, column, has, holds, name, text, type_of},
};

/// Functions that give the same value in a whole statement: PostgreSQL computes such a default once.
const STABLE: [&str; 26] = [
    "now",
    "statement_timestamp",
    "transaction_timestamp",
    "current_setting",
    "lower",
    "upper",
    "md5",
    "length",
    "coalesce",
    "nullif",
    "greatest",
    "least",
    "concat",
    "date_trunc",
    "make_interval",
    "make_date",
    "timezone",
    "to_char",
    "to_tsvector",
    "to_jsonb",
    "jsonb_build_object",
    "jsonb_build_array",
    "array_fill",
    "sha256",
    "decode",
    "encode",
];

pub(super) fn check(scene: &mut Scene<'_>) {
    match scene.kind() {
        Kind::ALTER_TABLE => {
            if let Some(table) = scene.filled_table() {
                scene.node.children().for_each(|action| alter(scene, &table, &action));
            }
        }
        Kind::CREATE_DOMAIN => {
            let kinds = [Kind::CHECK_CONSTRAINT, Kind::NOT_NULL_CONSTRAINT];
            if let Some(constraint) = scene.node.children().find(|part| kinds.contains(&part.kind())) {
                scene.report(&DOMAIN_CREATED, &constraint, text(&constraint));
            }
        }
        Kind::ALTER_DOMAIN => alter_domain(scene),
        _ => {}
    }
}

fn alter_domain(scene: &mut Scene<'_>) {
    let node = scene.node;
    let domain = child(node, Kind::DOMAIN_REF).map(|domain| name(&domain)).unwrap_or_default();
    if scene.known.is_new(&domain) {
        return;
    }
    let adds = child(node, Kind::ADD_CONSTRAINT).is_some_and(|added| !holds(&added, Kind::NOT_VALID));
    if adds || holds(node, Kind::SET_NOT_NULL) {
        scene.report_all(&DOMAIN_CONSTRAINT, domain);
    }
}

fn alter(scene: &mut Scene<'_>, table: &str, action: &Node) {
    match action.kind() {
        Kind::ADD_COLUMN => add_column(scene, table, action),
        Kind::ADD_CONSTRAINT => action.children().for_each(|constraint| add_constraint(scene, table, &constraint)),
        Kind::ALTER_COLUMN => alter_column(scene, table, action),
        Kind::VALIDATE_CONSTRAINT => {
            let named = child(action, Kind::CONSTRAINT_NAME_REF).map(|named| name(&named)).unwrap_or_default();
            if scene.known.file.unchecked.contains(&(table.to_owned(), named.clone())) {
                scene.report(&VALIDATE_TOGETHER, action, named);
            }
        }
        _ => {}
    }
}

fn add_column(scene: &mut Scene<'_>, table: &str, action: &Node) {
    let what = format!("{table}.{}", column(action));
    let ty = type_of(action).unwrap_or_default();
    let generated = child(action, Kind::GENERATED_CONSTRAINT).filter(|generated| !holds(generated, Kind::VIRTUAL));
    let writes_all = generated.is_some() || ty.ends_with("serial");
    if writes_all {
        scene.report(&ADD_GENERATED, action, what.clone());
    }
    let default = child(action, Kind::DEFAULT_CONSTRAINT);
    let is_volatile = |default: &Node| calls(default).any(|(name, _)| !STABLE.contains(&name.as_str()));
    if default.as_ref().is_some_and(is_volatile) {
        scene.report(&VOLATILE_DEFAULT, action, what.clone());
    }
    let is_empty = default.is_none() && !writes_all && !has(action, Kind::GENERATED_CONSTRAINT);
    if is_empty && has(action, Kind::NOT_NULL_CONSTRAINT) {
        scene.report(&ADD_NOT_NULL, action, what);
    }
    action.children().for_each(|constraint| add_constraint(scene, table, &constraint));
}

/// A constraint by itself, or one of a column that is added.
fn add_constraint(scene: &mut Scene<'_>, table: &str, constraint: &Node) {
    let prepared = has(constraint, Kind::USING_INDEX_NAME);
    let is_checked = !holds(constraint, Kind::NOT_VALID);
    let is_table_constraint = constraint.parent().is_some_and(|up| up.kind() == Kind::ADD_CONSTRAINT);
    let rule = match constraint.kind() {
        Kind::PRIMARY_KEY_CONSTRAINT if !prepared => &ADD_PRIMARY_KEY,
        Kind::PRIMARY_KEY_CONSTRAINT if has_nullable_column(scene, table, constraint) => &ADD_PRIMARY_KEY,
        Kind::UNIQUE_CONSTRAINT if !prepared => &ADD_UNIQUE,
        Kind::EXCLUDE_CONSTRAINT => &ADD_EXCLUSION,
        Kind::FOREIGN_KEY_CONSTRAINT | Kind::REFERENCES_CONSTRAINT if is_checked => &ADD_FOREIGN_KEY,
        Kind::CHECK_CONSTRAINT if is_checked => &ADD_CHECK,
        Kind::NOT_NULL_CONSTRAINT if is_checked && is_table_constraint => &SET_NOT_NULL,
        _ => return,
    };
    scene.report(rule, constraint, table.to_owned());
}

/// Whether the index that a key is made of has a column that may be NULL, as far as is known.
fn has_nullable_column(scene: &Scene<'_>, table: &str, constraint: &Node) -> bool {
    let Some(using) = child(constraint, Kind::USING_INDEX_NAME) else { return false };
    let named = child(&using, Kind::INDEX_REF).map(|index| name(&index)).unwrap_or_default();
    let index = scene.known.indexes.iter().find(|index| index.name == named);
    let Some((index, known)) = index.zip(scene.known.tables.get(table)) else { return false };
    index.columns.iter().any(|column| known.columns.get(column).is_some_and(|column| column.nullable))
}

fn alter_column(scene: &mut Scene<'_>, table: &str, action: &Node) {
    let named = column(action);
    let what = format!("{table}.{named}");
    if has(action, Kind::SET_NOT_NULL) && !scene.known.is_checked(table, &format!("{named} is not null")) {
        scene.report(&SET_NOT_NULL, action, what.clone());
    }
    if has(action, Kind::SET_EXPRESSION) {
        scene.report(&ADD_GENERATED, action, what.clone());
    }
    for change in children(action, Kind::SET_TYPE) {
        let known = scene.known.tables.get(table);
        let from = known.and_then(|table| table.columns.get(&named)).map(|column| column.ty.as_str());
        let mentions = |text: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == named);
        let is_checked = known.is_some_and(|table| table.checks.iter().any(|check| mentions(&check.text)));
        let to = type_of(&change).unwrap_or_default();
        let is_free = from.is_some_and(|from| is_free(from, &to)) && !has(&change, Kind::USING_EXPR) && !is_checked;
        if !is_free {
            scene.report(&CHANGE_TYPE, action, format!("{what} from {} to {to}", from.unwrap_or("an unknown type")));
        }
    }
}

/// Whether PostgreSQL changes the type in the catalogue alone.
fn is_free(from: &str, to: &str) -> bool {
    let ((from, old), (to, new)) = (sized(from), sized(to));
    match (from, to) {
        ("varchar" | "text", "text") | ("cidr", "inet") => true,
        ("text", "varchar") => new.is_empty(),
        ("numeric", "numeric") => {
            new.is_empty() || !old.is_empty() && old.first() <= new.first() && old.get(1) == new.get(1)
        }
        ("varchar" | "bit varying" | "timestamp" | "timestamptz" | "time" | "timetz", _) if from == to => {
            new.is_empty() || !old.is_empty() && old <= new
        }
        _ => from == to && old == new,
    }
}

/// `numeric(10,2)` as its name and its numbers.
fn sized(ty: &str) -> (&str, Vec<u32>) {
    let Some((name, rest)) = ty.split_once('(') else { return (ty, Vec::new()) };
    (name, rest.trim_end_matches(')').split(',').filter_map(|number| number.trim().parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::is_free;

    #[test]
    fn a_type_that_grows_is_free() {
        for (from, to) in [
            ("varchar(20)", "varchar(40)"),
            ("varchar(20)", "varchar"),
            ("varchar(20)", "text"),
            ("numeric(10,2)", "numeric(12,2)"),
            ("numeric(10,2)", "numeric"),
            ("timestamptz(3)", "timestamptz"),
            ("cidr", "inet"),
            ("text", "varchar"),
            ("int", "int"),
        ] {
            assert!(is_free(from, to), "{from} to {to}");
        }
        for (from, to) in [
            ("varchar(40)", "varchar(20)"),
            ("varchar", "varchar(20)"),
            ("text", "varchar(20)"),
            ("numeric(10,2)", "numeric(12,3)"),
            ("numeric", "numeric(12,3)"),
            ("int", "bigint"),
            ("timestamp", "timestamptz"),
            ("char(3)", "text"),
        ] {
            assert!(!is_free(from, to), "{from} to {to}");
        }
    }
}
