//! What the files before, and the statements before in the same file, have made.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    syntax::{Kind, Node},
    tree::{child, children, column, columns, has, holds, inside, literals, name, names, relation, text, type_of},
};

/// All that a set has made so far.
#[derive(Default)]
pub(super) struct Known {
    pub(super) tables: BTreeMap<String, Table>,
    pub(super) indexes: Vec<Index>,
    /// The facts of the file that is read now.
    pub(super) file: Facts,
}

/// A table that a file of the set has made or changed.
#[derive(Default)]
pub(super) struct Table {
    /// By name: the type, and whether it may be NULL.
    pub(super) columns: BTreeMap<String, Column>,
    pub(super) checks: Vec<Check>,
    pub(super) has_key: bool,
    /// Whether this set has made it, and not only changed it.
    pub(super) is_made: bool,
}

pub(super) struct Column {
    pub(super) ty: String,
    pub(super) nullable: bool,
}

pub(super) struct Check {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) validated: bool,
}

pub(super) struct Index {
    pub(super) name: String,
    pub(super) table: String,
    pub(super) columns: Vec<String>,
    /// Whether it holds every row, in the usual order: what another index may begin with.
    pub(super) plain: bool,
}

/// What happened in one file.
#[derive(Default)]
pub(super) struct Facts {
    /// What it has made: nobody else sees it before the file ends, and no row of it is anybody's.
    pub(super) made: BTreeSet<String>,
    /// What it has dropped.
    pub(super) dropped: BTreeSet<String>,
    /// The constraints that it has added without looking at the rows, by table and name.
    pub(super) unchecked: BTreeSet<(String, String)>,
    /// The values that it has added to enum types of other files.
    pub(super) enum_values: BTreeSet<String>,
    /// The tables of other files that it has altered or dropped: they are locked to its end.
    pub(super) locked: BTreeSet<String>,
}

impl Known {
    /// Whether the file that is read now has made it.
    pub(super) fn is_new(&self, name: &str) -> bool {
        self.file.made.contains(name)
    }

    /// Whether a validated CHECK of the table says so.
    pub(super) fn is_checked(&self, table: &str, condition: &str) -> bool {
        let checks = self.tables.get(table).map(|table| table.checks.as_slice()).unwrap_or_default();
        checks.iter().any(|check| check.validated && bare(&check.text) == bare(condition))
    }

    /// Takes up what a statement makes, drops or changes.
    pub(super) fn learn(&mut self, node: &Node) {
        match node.kind() {
            Kind::CREATE_TABLE | Kind::CREATE_TABLE_AS | Kind::CREATE_FOREIGN_TABLE => self.learn_table(node),
            Kind::SELECT_INTO => {
                let into = child(node, Kind::INTO_CLAUSE).and_then(|into| relation(&into));
                self.file.made.extend(into);
            }
            Kind::CREATE_INDEX => self.learn_index(node),
            Kind::ALTER_TABLE => self.learn_changes(node),
            Kind::ALTER_TYPE => {
                let named = child(node, Kind::TYPE_NAME_REF).map(|ty| name(&ty)).unwrap_or_default();
                if let Some(value) = child(node, Kind::ADD_VALUE).filter(|_| !self.is_new(&named)) {
                    self.file.enum_values.extend(literals(&value).next());
                }
            }
            kind if kind_name(kind).starts_with("CREATE_") => {
                self.file.made.extend(made_name(node).filter(|_| is_certainly_new(node)));
            }
            kind if kind_name(kind).starts_with("DROP_") => self.learn_drop(node),
            _ => {}
        }
    }

    fn learn_table(&mut self, node: &Node) {
        let Some(table) = relation(node) else { return };
        if is_certainly_new(node) {
            self.file.made.insert(table.clone());
        } else if self.tables.contains_key(&table) {
            return;
        }
        let mut made = Table::default();
        for list in children(node, Kind::TABLE_ARG_LIST) {
            for part in list.children() {
                if part.kind() == Kind::COLUMN {
                    self.learn_column(&mut made, &table, &part);
                }
                self.learn_constraint(&mut made, &table, &part);
            }
        }
        made.is_made = true;
        self.tables.insert(table, made);
    }

    fn learn_column(&mut self, table: &mut Table, of: &str, node: &Node) {
        let named = column(node);
        let not_null = has(node, Kind::NOT_NULL_CONSTRAINT) || has(node, Kind::PRIMARY_KEY_CONSTRAINT);
        let ty = type_of(node).unwrap_or_default();
        table.columns.insert(named.clone(), Column { ty, nullable: !not_null });
        for constraint in node.children() {
            match constraint.kind() {
                Kind::PRIMARY_KEY_CONSTRAINT | Kind::UNIQUE_CONSTRAINT => {
                    table.has_key |= constraint.kind() == Kind::PRIMARY_KEY_CONSTRAINT;
                    self.add_index(String::new(), of, vec![named.clone()], true);
                }
                Kind::CHECK_CONSTRAINT => self.learn_constraint(table, of, &constraint),
                _ => {}
            }
        }
    }

    fn learn_constraint(&mut self, table: &mut Table, of: &str, node: &Node) {
        let named = inside(node, Kind::CONSTRAINT_NAME).next().map(|named| name(&named)).unwrap_or_default();
        match node.kind() {
            Kind::PRIMARY_KEY_CONSTRAINT | Kind::UNIQUE_CONSTRAINT => {
                table.has_key |= node.kind() == Kind::PRIMARY_KEY_CONSTRAINT;
                self.add_index(named, of, columns(node), true);
            }
            Kind::CHECK_CONSTRAINT => {
                let text = node.children().find(is_expression).map(|condition| text(&condition)).unwrap_or_default();
                table.checks.push(Check { name: named, text, validated: !holds(node, Kind::NOT_VALID) });
            }
            _ => {}
        }
    }

    fn learn_index(&mut self, node: &Node) {
        let Some(table) = relation(node) else { return };
        let named = child(node, Kind::INDEX).map(|index| name(&index)).unwrap_or_default();
        let list = child(node, Kind::PARTITION_ITEM_LIST);
        let items = list.map(|list| children(&list, Kind::PARTITION_ITEM).map(|item| text(&item)).collect());
        let plain = !has(node, Kind::WHERE_CLAUSE) && !has(node, Kind::USING_METHOD);
        if is_certainly_new(node) {
            self.file.made.insert(named.clone());
        }
        self.add_index(named, &table, items.unwrap_or_default(), plain);
    }

    fn add_index(&mut self, name: String, table: &str, columns: Vec<String>, plain: bool) {
        self.indexes.push(Index { name, table: table.to_owned(), columns, plain });
    }

    fn learn_changes(&mut self, node: &Node) {
        let Some(named) = relation(node) else { return };
        let mut table = self.tables.remove(&named).unwrap_or_default();
        for action in node.children() {
            self.learn_change(&mut table, &named, &action);
        }
        if !self.is_new(&named) {
            self.file.locked.insert(named.clone());
        }
        self.tables.insert(named, table);
    }

    fn learn_change(&mut self, table: &mut Table, of: &str, action: &Node) {
        let named = || child(action, Kind::CONSTRAINT_NAME_REF).map(|named| name(&named)).unwrap_or_default();
        match action.kind() {
            Kind::ADD_COLUMN => self.learn_column(table, of, action),
            Kind::ADD_CONSTRAINT => {
                if holds(action, Kind::NOT_VALID) {
                    let constraint = inside(action, Kind::CONSTRAINT_NAME).next();
                    self.file.unchecked.extend(constraint.map(|constraint| (of.to_owned(), name(&constraint))));
                }
                action.children().for_each(|constraint| self.learn_constraint(table, of, &constraint));
            }
            Kind::VALIDATE_CONSTRAINT => {
                let named = named();
                table.checks.iter_mut().filter(|check| check.name == named).for_each(|check| check.validated = true);
            }
            Kind::DROP_CONSTRAINT => {
                let named = named();
                table.checks.retain(|check| check.name != named);
                self.indexes.retain(|index| index.name != named);
            }
            Kind::DROP_COLUMN => drop(table.columns.remove(&column(action))),
            Kind::ALTER_COLUMN => learn_column_change(table, action),
            _ => {}
        }
    }

    fn learn_drop(&mut self, node: &Node) {
        let dropped = dropped_names(node);
        self.indexes.retain(|index| !dropped.contains(&index.name) && !dropped.contains(&index.table));
        for named in dropped {
            if node.kind() == Kind::DROP_TABLE && !self.is_new(&named) {
                self.file.locked.insert(named.clone());
            }
            self.tables.remove(&named);
            self.file.made.remove(&named);
            self.file.dropped.insert(named);
        }
    }
}

fn learn_column_change(table: &mut Table, action: &Node) {
    let Some(known) = table.columns.get_mut(&column(action)) else { return };
    if let Some(ty) = child(action, Kind::SET_TYPE).and_then(|to| type_of(&to)) {
        known.ty = ty;
    }
    if has(action, Kind::SET_NOT_NULL) || has(action, Kind::DROP_NOT_NULL) {
        known.nullable = has(action, Kind::DROP_NOT_NULL);
    }
}

/// A condition without blanks, parentheses and quotes around names.
fn bare(condition: &str) -> String {
    condition.chars().filter(|c| !c.is_whitespace() && !matches!(c, '(' | ')' | '"')).collect()
}

fn is_expression(node: &Node) -> bool {
    !matches!(node.kind(), Kind::CONSTRAINT_NAME_CLAUSE | Kind::NOT_VALID | Kind::NO_INHERIT)
}

pub(super) fn kind_name(kind: Kind) -> String {
    format!("{kind:?}")
}

/// Whether it is made now, and was not there before.
fn is_certainly_new(node: &Node) -> bool {
    !has(node, Kind::IF_NOT_EXISTS) && !has(node, Kind::OR_REPLACE)
}

/// The name with its kind, as far as that has names of its own: a trigger is no table.
fn full_name(node: &Node) -> String {
    let kind = match node.kind() {
        Kind::FUNCTION_NAME | Kind::PROCEDURE_NAME | Kind::FUNCTION_SIG | Kind::PROCEDURE_SIG | Kind::ROUTINE_SIG => {
            "function "
        }
        Kind::TRIGGER | Kind::TRIGGER_REF => "trigger ",
        Kind::POLICY | Kind::POLICY_REF => "policy ",
        Kind::NAMED_SCHEMA | Kind::SCHEMA_REF => "schema ",
        Kind::EXTENSION_REF => "extension ",
        _ => "",
    };
    format!("{kind}{}", name(&child(node, Kind::SCHEMA).unwrap_or_else(|| node.clone())))
}

/// What a `CREATE` calls that which it makes.
pub(super) fn made_name(node: &Node) -> Option<String> {
    node.children().find(|child| is_new_name(child.kind())).map(|made| full_name(&made))
}

fn is_new_name(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::TABLE_NAME
            | Kind::VIEW
            | Kind::FUNCTION_NAME
            | Kind::PROCEDURE_NAME
            | Kind::TYPE_NAME
            | Kind::DOMAIN
            | Kind::SEQUENCE
            | Kind::INDEX
            | Kind::TRIGGER
            | Kind::POLICY
            | Kind::NAMED_SCHEMA
    )
}

/// What a `DROP` names.
fn is_old_name(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::TABLE_NAME_REF
            | Kind::VIEW_REF
            | Kind::FUNCTION_SIG
            | Kind::PROCEDURE_SIG
            | Kind::ROUTINE_SIG
            | Kind::TYPE_NAME_REF
            | Kind::DOMAIN_REF
            | Kind::SEQUENCE_REF
            | Kind::INDEX_REF
            | Kind::SCHEMA_REF
            | Kind::TRIGGER_REF
            | Kind::POLICY_REF
            | Kind::EXTENSION_REF
    )
}

/// The names that a `DROP` names.
pub(super) fn dropped_names(node: &Node) -> Vec<String> {
    let is_list = |child: &Node| {
        matches!(child.kind(), Kind::FUNCTION_SIG_LIST | Kind::PROCEDURE_SIG_LIST | Kind::ROUTINE_SIG_LIST)
    };
    let listed = node.children().filter(is_list).flat_map(|list| list.children());
    node.children().chain(listed).filter(|child| is_old_name(child.kind())).map(|old| full_name(&old)).collect()
}

/// The columns of an `INSERT` or of the left side of an `UPDATE`.
pub(super) fn targets(list: &Node) -> Vec<String> {
    children(list, Kind::COLUMN_TARGET).flat_map(|target| names(&target, Kind::COLUMN_NAME_REF)).collect()
}
