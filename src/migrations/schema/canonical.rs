//! Definitions in a form that survives dump and restore.
//!
//! PostgreSQL stores an expression as a tree and writes a text for it. A restore parses that text, and the tree that comes
//! of it may be another, with another text. So two texts of one expression have to be the same here. What differs:
//!
//! * Casts: `(ARRAY['a'::varchar])::text[]` comes back as `ARRAY[('a'::varchar)::text]`. Casts are taken out of their
//!   places, and the types that occur are kept as a set, beside the rest.
//! * Parentheses: `((a AND b) AND c)` comes back as `(a AND b AND c)`. Those that change nothing are taken out.
//! * Blanks and line ends, which PostgreSQL sets for readers.
//! * Names that a column of a query gets from a cast: `'x'::varchar` comes back as `'x'::varchar AS "varchar"`.
//!
//! Literals, quoted names and bodies of functions in dollar quotes are kept to the letter. What this form cannot tell
//! apart: a cast that moved to another place of the same definition, or was repeated there.

use std::{collections::BTreeSet, mem};

/// The canonical form of a definition.
pub(super) fn canonical(definition: &str) -> String {
    let mut parser = Parser { rest: definition, ..Parser::default() };
    parser.read();
    let mut text = String::with_capacity(definition.len());
    write(&simplify(parser.finish()), &mut text);
    for cast in &parser.casts {
        text.push_str(" ::");
        text.push_str(cast);
    }
    text
}

/// How deep brackets are looked at. Those that are deeper stand as they are.
const DEPTH: usize = 256;

#[derive(Debug)]
enum Node {
    /// A word, a name with its dots, a literal, an operator.
    Text(String),
    /// Between parentheses that belong to nothing.
    Group(Vec<Node>),
    /// Something with its arguments or subscripts: `f(a, b)`, `ARRAY[1, 2]`.
    Applied(Box<Node>, char, Vec<Node>),
}

impl Node {
    fn is(&self, word: &str) -> bool {
        matches!(self, Self::Text(text) if text == word)
    }
}

/// What an opening bracket began.
#[derive(Default)]
struct Level {
    /// To what the bracket is applied, and which one it is; none for a group.
    applied: Option<(Node, char)>,
    nodes: Vec<Node>,
}

#[derive(Default)]
struct Parser<'a> {
    rest: &'a str,
    outermost: Level,
    open: Vec<Level>,
    /// How many brackets are open beyond [`DEPTH`].
    deeper: usize,
    casts: BTreeSet<String>,
    /// The name that the last cast gives to a column, as long as only parentheses followed it.
    alias: Option<String>,
    /// Whether nothing is between the last token and the rest.
    is_adjacent: bool,
}

impl<'a> Parser<'a> {
    fn read(&mut self) {
        while let Some(first) = self.rest.chars().next() {
            let adjacent = mem::replace(&mut self.is_adjacent, true);
            match first {
                _ if first.is_whitespace() => {
                    self.rest = self.rest.trim_start();
                    self.is_adjacent = false;
                }
                ':' if self.rest.starts_with("::") => self.cast(),
                '(' | '[' => self.begin(first, adjacent),
                ')' | ']' => self.end(),
                '\'' => self.take(literal(self.rest, '\'')),
                '$' => self.take(dollar_quoted(self.rest)),
                _ if is_of_name(first) || first == '"' => self.name(),
                _ if is_of_operator(first) => {
                    let length = self.rest.find(|c| !is_of_operator(c)).unwrap_or(self.rest.len());
                    self.take(length);
                }
                _ => self.take(first.len_utf8()),
            }
        }
    }

    /// What was read. Brackets that are still open end here.
    fn finish(&mut self) -> Vec<Node> {
        self.deeper = 0;
        while !self.open.is_empty() {
            self.end();
        }
        mem::take(&mut self.outermost.nodes)
    }

    fn nodes(&mut self) -> &mut Vec<Node> {
        &mut self.open.last_mut().unwrap_or(&mut self.outermost).nodes
    }

    fn cut(&mut self, length: usize) -> &'a str {
        let (text, rest) = self.rest.split_at(length);
        self.rest = rest;
        text
    }

    fn take(&mut self, length: usize) {
        let text = self.cut(length).to_owned();
        self.alias = None;
        self.nodes().push(Node::Text(text));
    }

    fn name(&mut self) {
        let length = name_length(self.rest);
        let text = self.cut(length);
        if text == "AS" {
            return self.nodes().push(Node::Text(text.to_owned()));
        }
        let alias = self.alias.take();
        let nodes = self.nodes();
        if nodes.last().is_some_and(|last| last.is("AS")) && alias.as_deref() == Some(text.trim_matches('"')) {
            nodes.pop();
        } else {
            nodes.push(Node::Text(text.to_owned()));
        }
    }

    fn begin(&mut self, bracket: char, is_adjacent: bool) {
        if self.open.len() == DEPTH {
            self.deeper += 1;
            return self.take(1);
        }
        self.cut(1);
        self.alias = None;
        let is_applied = is_adjacent && !matches!(self.nodes().last(), None | Some(Node::Group(_)));
        let is_applied = is_applied && self.nodes().last().is_some_and(|last| !is_operator(last)) || bracket == '[';
        let applied = if is_applied { self.nodes().pop() } else { None };
        let applied = applied.map(|applied| (applied, bracket));
        self.open.push(Level { applied, nodes: Vec::new() });
    }

    fn end(&mut self) {
        if self.deeper > 0 || self.open.is_empty() {
            self.deeper = self.deeper.saturating_sub(1);
            return self.take(1);
        }
        self.cut(usize::from(!self.rest.is_empty()));
        let Some(Level { applied, nodes }) = self.open.pop() else { return };
        let nodes = simplify(nodes);
        let node = match applied {
            Some((to, bracket)) => Node::Applied(Box::new(to), bracket, nodes),
            None => Node::Group(nodes),
        };
        self.nodes().push(node);
    }

    /// `::` and the name of a type: `character varying(20)[]`, `timestamp(3) with time zone`, `public."State"`.
    fn cast(&mut self) {
        self.cut(2);
        let name = self.cut(name_length(self.rest));
        let mut whole = name.to_owned();
        loop {
            if self.rest.starts_with('(') {
                let length = self.rest.find(')').map_or(self.rest.len(), |end| end + 1);
                whole.push_str(self.cut(length));
            } else if let Some(word) = TYPE_WORDS.iter().find(|word| self.rest.starts_with(**word)) {
                whole.push_str(self.cut(word.len()));
            } else if self.rest.starts_with("[]") {
                self.cut(2);
            } else {
                break;
            }
        }
        self.alias = Some(column_name(&whole, name));
        self.casts.insert(whole);
    }
}

/// What follows the first word of a type's name.
const TYPE_WORDS: [&str; 15] = [
    " varying",
    " precision",
    " with time zone",
    " without time zone",
    " year to month",
    " day to hour",
    " day to minute",
    " day to second",
    " hour to minute",
    " hour to second",
    " minute to second",
    " year",
    " month",
    " day",
    " hour",
];

/// The name that a cast gives to a column of a query: that of the type, as the catalogue has it.
fn column_name(whole: &str, name: &str) -> String {
    let name = name.rsplit('.').next().unwrap_or(name).trim_matches('"');
    let is_zoned = whole.contains(" with time zone");
    let known = match name {
        "character" if whole.contains(" varying") => "varchar",
        "character" => "bpchar",
        "integer" => "int4",
        "bigint" => "int8",
        "smallint" => "int2",
        "boolean" => "bool",
        "real" => "float4",
        "double" => "float8",
        "timestamp" if is_zoned => "timestamptz",
        "time" if is_zoned => "timetz",
        "bit" if whole.contains(" varying") => "varbit",
        other => other,
    };
    known.to_owned()
}

/// Takes out what changes nothing: parentheses around the whole of an argument, and those of an AND in an AND or of an OR
/// in an OR.
fn simplify(nodes: Vec<Node>) -> Vec<Node> {
    let mut simple = Vec::with_capacity(nodes.len());
    let mut argument = Vec::new();
    for node in nodes {
        if node.is(",") {
            simple.append(&mut flattened(mem::take(&mut argument)));
            simple.push(node);
        } else {
            argument.push(node);
        }
    }
    simple.append(&mut flattened(argument));
    simple
}

fn flattened(mut argument: Vec<Node>) -> Vec<Node> {
    while let [Node::Group(nodes)] = &mut *argument {
        // A row of several values keeps its parentheses.
        if nodes.iter().any(|node| node.is(",")) {
            break;
        }
        argument = mem::take(nodes);
    }
    let connective = connective(&argument);
    let mut flat = Vec::with_capacity(argument.len());
    for node in argument {
        match node {
            Node::Group(mut nodes) if connective.is_some() && self::connective(&nodes) == connective => {
                flat.append(&mut nodes);
            }
            Node::Group(mut nodes) if nodes.len() == 1 => flat.append(&mut nodes),
            node => flat.push(node),
        }
    }
    flat
}

/// The word that joins all of an expression, if it is one that may be regrouped.
fn connective(nodes: &[Node]) -> Option<&'static str> {
    let has = |word| nodes.iter().any(|node| node.is(word));
    match (has("AND"), has("OR"), has(",")) {
        (true, false, false) => Some("AND"),
        (false, true, false) => Some("OR"),
        _ => None,
    }
}

fn write(nodes: &[Node], text: &mut String) {
    for node in nodes {
        if !text.is_empty() {
            text.push(' ');
        }
        match node {
            Node::Text(word) => text.push_str(word),
            Node::Group(nodes) => {
                text.push('(');
                write(nodes, text);
                text.push(')');
            }
            Node::Applied(to, bracket, nodes) => {
                write(std::slice::from_ref(to), text);
                text.push(*bracket);
                write(nodes, text);
                text.push(if *bracket == '(' { ')' } else { ']' });
            }
        }
    }
}

/// The length of a name with its dots, quoted or not, or of a number.
fn name_length(text: &str) -> usize {
    let mut length = 0;
    loop {
        let rest = text.get(length..).unwrap_or_default();
        length += match rest.chars().next() {
            Some('"') => literal(rest, '"'),
            Some('*') => 1,
            _ => rest.find(|c| !is_of_name(c) && c != '$').unwrap_or(rest.len()),
        };
        let Some(after) = text.get(length..).and_then(|rest| rest.strip_prefix('.')) else { return length };
        if !after.starts_with(|c: char| is_of_name(c) || matches!(c, '"' | '*')) {
            return length;
        }
        length += 1;
    }
}

/// The length of a literal between two quotes, which are doubled within it.
fn literal(text: &str, quote: char) -> usize {
    let mut length = 1;
    while let Some(end) = text.get(length..).and_then(|rest| rest.find(quote)) {
        length += end + 1;
        if !text.get(length..).is_some_and(|rest| rest.starts_with(quote)) {
            return length;
        }
        length += 1;
    }
    text.len()
}

/// The length of `$tag$…$tag$`, or of a lone `$`.
fn dollar_quoted(text: &str) -> usize {
    let Some(end) = text.get(1..).and_then(|rest| rest.find(|c| !is_of_name(c))) else { return 1 };
    let Some(tag) = text.get(..end + 2).filter(|tag| tag.ends_with('$')) else { return 1 };
    let body = text.get(tag.len()..).unwrap_or_default();
    body.find(tag).map_or(text.len(), |end| end + 2 * tag.len())
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_of_operator(c: char) -> bool {
    matches!(c, '+' | '-' | '*' | '/' | '<' | '>' | '=' | '~' | '!' | '@' | '#' | '%' | '^' | '&' | '|' | '`' | '?')
}

fn is_operator(node: &Node) -> bool {
    matches!(node, Node::Text(text) if text.starts_with(|c| is_of_operator(c) || matches!(c, ',' | ';')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_restore_writes_otherwise_has_one_form() {
        for (made, restored) in [
            ("(v = ANY ((ARRAY['a'::varchar, w])::text[]))", "(v = ANY (ARRAY[('a'::varchar)::text, (w)::text]))"),
            ("CHECK (((a > 1) AND (b)) AND (c))", "CHECK (((a > 1) AND b AND c))"),
            ("((a OR b) OR (c OR d))", "(a OR b OR (c OR d))"),
            ("SELECT 'x'::character varying,\n  2", "SELECT 'x'::character varying AS \"varchar\", 2"),
            ("SELECT (2)::double precision", "SELECT (2)::double precision AS float8"),
            (
                "SELECT now()::timestamp(3) with time zone[]",
                "SELECT now()::timestamp(3) with time zone[] AS timestamptz",
            ),
            ("(ARRAY[CASE WHEN a THEN b END])::text[]", "ARRAY[(CASE WHEN a THEN b END)::text]"),
            ("(ARRAY[f(x), (a || b)])::text[]", "ARRAY[(f(x))::text, ((a || b))::text]"),
        ] {
            assert_eq!(canonical(made), canonical(restored), "{made}");
        }
    }

    #[test]
    fn what_means_something_else_has_another_form() {
        for (one, other) in [
            ("CHECK ((a < 5))", "CHECK ((a < 6))"),
            ("((a OR b) AND c)", "(a OR (b AND c))"),
            ("((a - b) - c)", "(a - (b - c))"),
            ("f(a, g(b), c)", "f(a, g(b, c))"),
            ("(x)::integer", "(x)::bigint"),
            ("(x)::numeric(10,2)", "(x)::numeric(12,2)"),
            ("(x)::timestamp with time zone", "(x)::timestamp without time zone"),
            ("'a b'", "'ab'"),
            ("'(a)'", "'a'"),
            ("'it''s'::text", "'it''S'::text"),
            ("\"A b\"", "\"Ab\""),
            ("$f$ (1) $f$", "$f$ 1 $f$"),
            ("((1, 2), (3, 4))", "(1, 2, 3, 4)"),
            ("SELECT 'x'::text AS y", "SELECT 'x'::text AS z"),
            ("NOT (a AND b)", "NOT a AND b"),
            ("numeric(10,2)", "numeric(12,2)"),
            ("text NOT NULL", "text"),
            ("a[1]", "a[2]"),
        ] {
            assert_ne!(canonical(one), canonical(other), "{one}");
        }
    }

    #[test]
    fn no_text_is_too_odd() {
        for text in
            ["", ")", "((", "'", "\"", "$", "$1", "$a$", "::", "a::", "]", "[1]", "é(", "::\"", "a.", ".5", "1."]
        {
            canonical(text);
        }
        for open in ["(", "(a ", "a[", "f(1, "] {
            let text = canonical(&format!("{}b{}", open.repeat(3_000), ")]".repeat(3_000)));
            assert!(text.contains('b'), "{open}");
        }
    }
}
