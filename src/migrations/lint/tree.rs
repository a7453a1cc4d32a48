//! Questions to a statement's tree.

use super::syntax::{Kind, Node};

/// The first child of a kind.
pub(super) fn child(node: &Node, kind: Kind) -> Option<Node> {
    children(node, kind).next()
}

/// The children of a kind.
pub(super) fn children(node: &Node, kind: Kind) -> impl Iterator<Item = Node> {
    node.children().filter(move |child| child.kind() == kind)
}

/// Whether it has a child of the kind.
pub(super) fn has(node: &Node, kind: Kind) -> bool {
    child(node, kind).is_some()
}

/// All nodes of a kind, at any depth.
pub(super) fn inside(node: &Node, kind: Kind) -> impl Iterator<Item = Node> {
    node.descendants().filter(move |inner| inner.kind() == kind)
}

/// Whether a node of the kind is anywhere inside.
pub(super) fn holds(node: &Node, kind: Kind) -> bool {
    inside(node, kind).next().is_some()
}

/// Whether the keyword is one of the node's own words, those of its children not counted.
pub(super) fn says(node: &Node, word: &str) -> bool {
    node.children_with_tokens().filter_map(rowan_token).any(|token| token.text().eq_ignore_ascii_case(word))
}

fn rowan_token(element: squawk_syntax::SyntaxElement) -> Option<squawk_syntax::SyntaxToken> {
    element.into_token()
}

/// Where the node's first word begins, within its statement.
pub(super) fn start(node: &Node) -> usize {
    let mut tokens = node.descendants_with_tokens().filter_map(rowan_token);
    let first = tokens.find(|token| !is_trivia(token.kind()));
    usize::from(first.map_or_else(|| node.text_range().start(), |token| token.text_range().start()))
}

fn is_trivia(kind: Kind) -> bool {
    matches!(kind, Kind::WHITESPACE | Kind::COMMENT)
}

/// The node's words in lower case with one blank between them; what is in quotes stays as it is.
pub(super) fn text(node: &Node) -> String {
    let mut text = String::new();
    for token in node.descendants_with_tokens().filter_map(rowan_token).filter(|token| !is_trivia(token.kind())) {
        let token = token.text();
        let glued =
            text.is_empty() || text.ends_with(['(', '.', '[']) || matches!(token, ")" | "," | "." | "(" | "[" | "]");
        if !glued {
            text.push(' ');
        }
        if token.starts_with(['"', '\'', '$']) { text.push_str(token) } else { text.push_str(&token.to_lowercase()) }
    }
    text
}

/// A name as PostgreSQL reads it: in lower case where it is not quoted, without the schema `public`.
pub(super) fn name(node: &Node) -> String {
    let path = node.descendants().find(|inner| matches!(inner.kind(), Kind::PATH | Kind::PATH_REF));
    let mut name = String::new();
    for token in path.as_ref().unwrap_or(node).descendants_with_tokens().filter_map(rowan_token) {
        let text = token.text();
        match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(quoted) => name.push_str(&quoted.replace("\"\"", "\"")),
            None if !is_trivia(token.kind()) => name.push_str(&text.to_lowercase()),
            None => {}
        }
    }
    name.strip_prefix("public.").map_or_else(|| name.clone(), str::to_owned)
}

/// The names of all children of a kind.
pub(super) fn names(node: &Node, kind: Kind) -> Vec<String> {
    children(node, kind).map(|child| name(&child)).collect()
}

/// The table (or view) that a statement or a clause names first.
pub(super) fn relation(node: &Node) -> Option<String> {
    let is_relation = |child: &Node| {
        matches!(
            child.kind(),
            Kind::TABLE_RELATION_NAME
                | Kind::RELATION_NAME
                | Kind::RELATION_NAME_REF
                | Kind::TABLE_NAME
                | Kind::TABLE_NAME_REF
                | Kind::VIEW
                | Kind::VIEW_REF
        )
    };
    let on = |child: &Node| matches!(child.kind(), Kind::ON_TABLE | Kind::ON_RELATION | Kind::RELATION_LIST);
    let direct = node.children().find(is_relation);
    direct.or_else(|| node.children().find(on)?.children().find(is_relation)).map(|found| name(&found))
}

/// The column that an action of `ALTER TABLE` is about, or that a definition makes.
pub(super) fn column(node: &Node) -> String {
    child(node, Kind::COLUMN_NAME)
        .or_else(|| child(node, Kind::COLUMN_NAME_REF))
        .map(|column| name(&column))
        .unwrap_or_default()
}

/// Whether a `WHERE` leaves rows out.
pub(super) fn restricts(node: &Node) -> bool {
    child(node, Kind::WHERE_CLAUSE)
        .is_some_and(|clause| !matches!(text(&clause).as_str(), "where true" | "where 1 = 1"))
}

/// The columns that a constraint lists.
pub(super) fn columns(node: &Node) -> Vec<String> {
    let list = node.descendants().find(|inner| {
        matches!(inner.kind(), Kind::CONSTRAINT_COLUMN_REF_LIST | Kind::FOREIGN_KEY_COLUMN_LIST | Kind::COLUMN_REF_LIST)
    });
    list.map(|list| names(&list, Kind::COLUMN_NAME_REF)).unwrap_or_default()
}

/// The type of a column's definition or of `SET TYPE`, by its short name: `varchar(20)`, `timestamptz`, `int[]`.
pub(super) fn type_of(node: &Node) -> Option<String> {
    let is_type = |child: &Node| {
        matches!(
            child.kind(),
            Kind::ARRAY_TYPE
                | Kind::PATH_TYPE
                | Kind::VARCHAR_TYPE
                | Kind::CHARACTER_TYPE
                | Kind::BIT_TYPE
                | Kind::BIT_VARYING_TYPE
                | Kind::DOUBLE_TYPE
                | Kind::TIME_TYPE
                | Kind::TIMESTAMP_TYPE
                | Kind::INTERVAL_TYPE
        )
    };
    node.children().find(is_type).map(|found| short(&text(&found)))
}

fn short(written: &str) -> String {
    let zoned = written.contains("with time zone");
    let mut text = written.replace("pg_catalog.", "").replace(" with time zone", "").replace(" without time zone", "");
    if zoned {
        let (plain, with_zone) =
            if text.starts_with("timestamp") { ("timestamp", "timestamptz") } else { ("time", "timetz") };
        text = text.replacen(plain, with_zone, 1);
    }
    let (base, rest) = text.split_at(text.find(['(', '[']).unwrap_or(text.len()));
    let base = match base.trim() {
        "character varying" | "char varying" | "national character varying" | "nchar varying" => "varchar",
        "character" | "bpchar" | "national character" | "national char" | "nchar" => "char",
        "int4" | "integer" => "int",
        "int8" => "bigint",
        "int2" => "smallint",
        "decimal" => "numeric",
        "serial4" => "serial",
        "serial8" => "bigserial",
        "serial2" => "smallserial",
        other => other,
    };
    format!("{base}{}", rest.replace(' ', ""))
}

/// The functions that are called anywhere inside: their name without a schema, and the call.
pub(super) fn calls(node: &Node) -> impl Iterator<Item = (String, Node)> {
    inside(node, Kind::CALL_EXPR).filter_map(|call| {
        let written = text(&call.children().next()?);
        let name = written.rsplit('.').next()?.trim().trim_matches('"').to_owned();
        Some((name, call))
    })
}

/// The literals anywhere inside, without their quotes.
pub(super) fn literals(node: &Node) -> impl Iterator<Item = String> {
    inside(node, Kind::LITERAL).map(|literal| super::syntax::body(&literal.text().to_string()).to_owned())
}
