//! What works, and what people have regretted. Never fails.

use super::{
    rules::{
        CHAR_TYPE, ENUM_ORDER, ENUM_TYPE, INDEX_DUPLICATE, INDEX_WIDE, INT_KEY, JSON_COLUMN, MONEY_TYPE,
        NO_PRIMARY_KEY, Rule, SERIAL, TIMESTAMP_ZONE, VARCHAR_LIMIT,
    },
    scene::Scene,
    syntax::{Kind, Node},
    tree::{child, children, column, has, holds, name, relation, text, type_of},
};

const WIDEST: usize = 3;

pub(super) fn check(scene: &mut Scene<'_>) {
    let node = scene.node;
    match scene.kind() {
        Kind::CREATE_TABLE => {
            let lists: Vec<_> = children(node, Kind::TABLE_ARG_LIST).collect();
            lists.iter().flat_map(|list| children(list, Kind::COLUMN)).for_each(|column| types(scene, &column));
        }
        Kind::ALTER_TABLE => {
            children(node, Kind::ADD_COLUMN).for_each(|column| types(scene, &column));
            children(node, Kind::ALTER_COLUMN).filter(|change| has(change, Kind::SET_TYPE)).for_each(|change| {
                types_of(
                    scene,
                    &change,
                    &child(&change, Kind::SET_TYPE).and_then(|to| type_of(&to)).unwrap_or_default(),
                );
            });
        }
        Kind::CREATE_TYPE if has(node, Kind::ENUM_TYPE) => {
            scene.report_all(&ENUM_TYPE, child(node, Kind::TYPE_NAME).map(|ty| name(&ty)).unwrap_or_default());
        }
        Kind::ALTER_TYPE => {
            let ordered = holds(node, Kind::AFTER_VALUE) || holds(node, Kind::BEFORE_VALUE);
            if let Some(value) = child(node, Kind::ADD_VALUE).filter(|_| !ordered) {
                scene.report(&ENUM_ORDER, &value, text(&value));
            }
        }
        Kind::CREATE_INDEX => index(scene),
        _ => {}
    }
}

fn types(scene: &mut Scene<'_>, definition: &Node) {
    types_of(scene, definition, &type_of(definition).unwrap_or_default());
}

fn types_of(scene: &mut Scene<'_>, definition: &Node, ty: &str) {
    let element = ty.split('[').next().unwrap_or_default();
    let (base, sized) = element.split_once('(').map_or((element, false), |(base, _)| (base, true));
    let rule: &'static Rule = match base {
        "json" => &JSON_COLUMN,
        "char" => &CHAR_TYPE,
        "varchar" if sized => &VARCHAR_LIMIT,
        "timestamp" => &TIMESTAMP_ZONE,
        "money" => &MONEY_TYPE,
        "serial" | "bigserial" | "smallserial" => &SERIAL,
        "int" | "smallint" if is_key(definition) => &INT_KEY,
        _ => return,
    };
    scene.report(rule, definition, format!("{} {ty}", column(definition)));
}

/// Whether a column names rows of its own or another table.
fn is_key(definition: &Node) -> bool {
    let named = column(definition);
    named == "id"
        || named.ends_with("_id")
        || has(definition, Kind::PRIMARY_KEY_CONSTRAINT)
        || has(definition, Kind::REFERENCES_CONSTRAINT)
        || has(definition, Kind::GENERATED_CONSTRAINT)
}

fn index(scene: &mut Scene<'_>) {
    let node = scene.node;
    let Some((table, list)) = relation(node).zip(child(node, Kind::PARTITION_ITEM_LIST)) else { return };
    let items: Vec<_> = children(&list, Kind::PARTITION_ITEM).map(|item| text(&item)).collect();
    if items.len() > WIDEST {
        scene.report_all(&INDEX_WIDE, format!("{} columns", items.len()));
    }
    let plain = !has(node, Kind::WHERE_CLAUSE) && !has(node, Kind::USING_METHOD) && !super::tree::says(node, "unique");
    let others = scene.known.indexes.iter().filter(|other| other.table == table && other.plain);
    let named = child(node, Kind::INDEX).map(|index| name(&index)).unwrap_or_default();
    let same = others.filter(|other| other.columns.starts_with(&items) && other.name != named);
    let same = same.map(|other| other.name.clone()).next();
    if let Some(other) = same.filter(|_| plain) {
        let other = if other.is_empty() { "the index of a constraint".to_owned() } else { other };
        scene.report_all(&INDEX_DUPLICATE, format!("{other} begins with the same columns of {table}"));
    }
}

/// A table that has got no key by the end of its file.
pub(super) fn without_key(scene: &mut Scene<'_>) {
    let node = scene.node;
    let special = [Kind::TEMP, Kind::PARTITION_OF, Kind::INHERITS, Kind::OF_TYPE];
    if scene.kind() != Kind::CREATE_TABLE
        || special.iter().any(|kind| has(node, *kind))
        || holds(node, Kind::LIKE_CLAUSE)
    {
        return;
    }
    let Some(table) = relation(node) else { return };
    if scene.known.tables.get(&table).is_some_and(|made| !made.has_key) {
        scene.report_all(&NO_PRIMARY_KEY, table);
    }
}
