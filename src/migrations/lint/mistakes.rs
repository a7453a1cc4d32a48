//! What is wrong wherever it runs.

use std::collections::BTreeSet;

use super::{
    known::targets,
    rules::{COLUMN_TWICE, ENUM_VALUE_USED, IDENTIFIER_LENGTH},
    scene::Scene,
    syntax::{Kind, Node},
    tree::{children, column, inside, names, text},
};
use crate::migrations::marker::Mode;

/// The longest identifier in bytes.
const LONGEST: usize = 63;

pub(super) fn check(scene: &mut Scene<'_>) {
    identifiers(scene);
    twice(scene);
    enum_values(scene);
}

fn identifiers(scene: &mut Scene<'_>) {
    let node = scene.node;
    let is_name = |inner: &Node| {
        matches!(
            inner.kind(),
            Kind::PATH_SEGMENT
                | Kind::PATH_SEGMENT_REF
                | Kind::COLUMN_NAME
                | Kind::COLUMN_NAME_REF
                | Kind::CONSTRAINT_NAME
                | Kind::TRIGGER
                | Kind::POLICY
                | Kind::SCHEMA
                | Kind::NAME_REF
        )
    };
    for inner in node.descendants().filter(is_name) {
        let written = inner.text().to_string();
        let bytes = written.trim().trim_matches('"').len();
        if bytes > LONGEST {
            scene.report(&IDENTIFIER_LENGTH, &inner, format!("{} has {bytes} bytes", written.trim()));
        }
    }
}

fn twice(scene: &mut Scene<'_>) {
    let node = scene.node;
    for list in inside(node, Kind::TABLE_ARG_LIST) {
        let named = children(&list, Kind::COLUMN).map(|part| column(&part)).collect();
        report_twice(scene, &list, named);
    }
    for list in inside(node, Kind::COLUMN_TARGET_LIST) {
        report_twice(scene, &list, targets(&list));
    }
    for list in inside(node, Kind::SET_COLUMN_LIST) {
        let named = children(&list, Kind::SET_SINGLE_COLUMN).flat_map(|single| targets(&single)).collect();
        report_twice(scene, &list, named);
    }
    for list in inside(node, Kind::COLUMN_REF_LIST) {
        report_twice(scene, &list, names(&list, Kind::COLUMN_NAME_REF));
    }
}

fn report_twice(scene: &mut Scene<'_>, list: &Node, named: Vec<String>) {
    let mut seen = BTreeSet::new();
    for name in named {
        if !seen.insert(name.clone()) {
            scene.report(&COLUMN_TWICE, list, name);
        }
    }
}

fn enum_values(scene: &mut Scene<'_>) {
    let node = scene.node;
    if scene.known.file.enum_values.is_empty() || scene.mode != Mode::Transaction || scene.kind() == Kind::ALTER_TYPE {
        return;
    }
    for literal in inside(node, Kind::LITERAL) {
        let value = super::syntax::body(&text(&literal)).to_owned();
        if scene.known.file.enum_values.contains(&value) {
            scene.report(&ENUM_VALUE_USED, &literal, value);
        }
    }
}
