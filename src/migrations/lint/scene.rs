//! One statement as the rules see it, and where they put their findings.

use super::{
    known::Known,
    rules::Rule,
    syntax::{Kind, Node},
    tree,
};
use crate::migrations::marker::Mode;

/// What a rule has found, where in the file.
pub(super) struct Found {
    pub(super) rule: &'static Rule,
    pub(super) offset: usize,
    /// What it is about, in a few words.
    pub(super) what: String,
    /// Of which statement of the file; none where it is about the file.
    pub(super) statement: Option<usize>,
}

/// A statement in its place.
pub(super) struct Scene<'a> {
    pub(super) node: &'a Node,
    pub(super) known: &'a Known,
    pub(super) mode: Mode,
    /// Whether it is in the first file of a set.
    pub(super) is_first: bool,
    /// Whether the file undoes another one.
    pub(super) undo: bool,
    /// Where the statement begins in the file, and its number.
    pub(super) place: (usize, usize),
    pub(super) found: Vec<Found>,
}

impl Scene<'_> {
    pub(super) fn kind(&self) -> Kind {
        self.node.kind()
    }

    /// Reports what begins at `node`.
    pub(super) fn report(&mut self, rule: &'static Rule, node: &Node, what: impl Into<String>) {
        let (offset, statement) = self.place;
        let (offset, what) = (offset + tree::start(node), what.into());
        self.found.push(Found { rule, offset, what, statement: Some(statement) });
    }

    /// Reports the whole statement.
    pub(super) fn report_all(&mut self, rule: &'static Rule, what: impl Into<String>) {
        let node = self.node;
        self.report(rule, node, what);
    }

    /// The statement's table, when there may be rows in it.
    pub(super) fn filled_table(&self) -> Option<String> {
        tree::relation(self.node).filter(|table| !self.known.is_new(table))
    }
}
