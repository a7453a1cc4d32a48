//! The linter: reads a set of migrations, and says what would lock, lose, break or leave a tenant. Text in, findings out.
//!
//! It knows what the runner does (time-outs, one transaction a file, markers), and it sees the whole set: what a file has
//! made itself has no rows yet and is seen by nobody, and a later file knows the columns, checks and indexes of earlier
//! ones. A comment right before a statement waives a rule for it: `-- freehold:allow <rule>: <reason>`.
//!
//! It is no wall. PostgreSQL judges the syntax, and the rights of the role that runs a migration bound what it may do;
//! the linter says the same early, and with the line (docs/decisions/0032).

mod columns;
mod compatibility;
mod files;
mod isolation;
mod known;
mod locks;
mod mistakes;
mod regrets;
mod rules;
mod running;
mod scene;
mod syntax;
mod tree;
mod waivers;

use std::{path::Path, thread};

use self::files::{File, Place};
pub use self::rules::{Level, RULES, Rule};
use super::MigrationSet;
use crate::error::Result;

/// One finding, at its place.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The file's name.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// The rule's name.
    pub rule: &'static str,
    /// The rule's level.
    pub level: Level,
    /// What was found, and why it matters.
    pub message: String,
    /// What to write in its place.
    pub safe_form: &'static str,
}

impl Finding {
    /// Whether it keeps the set from being published.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.level == Level::Error
    }
}

/// All findings of a set, its undo files included, by file and line.
#[must_use]
pub fn lint_set(set: &MigrationSet) -> Vec<Finding> {
    lint(set.texts().into_iter().map(|(name, sql)| File::of(name, sql.to_owned())).collect())
}

/// What the undo files of a set throw away, as far as their texts show. What a waiver says may go is told with its reason:
/// the file's author has judged it, and whoever runs the file now has other rows.
#[must_use]
pub fn undo_losses(set: &MigrationSet) -> Vec<Finding> {
    if set.undo_files() == 0 {
        return Vec::new();
    }
    let files = set.texts().into_iter().map(|(name, sql)| File::of(name, sql.to_owned())).collect();
    let losses = examine(files, files::losses);
    losses.into_iter().filter(|finding| finding.rule == rules::UNDO_LOSES_DATA.name).collect()
}

/// All findings of the `*.sql` files of a folder, also of those that are misnamed or cannot be read.
///
/// # Errors
/// `invalid_migration` when the folder itself cannot be read.
pub fn lint_directory(directory: &Path) -> Result<Vec<Finding>> {
    Ok(lint(files::read(directory)?))
}

fn lint(files: Vec<File>) -> Vec<Finding> {
    examine(files, files::findings)
}

/// The parser descends recursively: it gets a thread with a stack for that.
fn examine(files: Vec<File>, findings: fn(Vec<File>) -> Vec<Finding>) -> Vec<Finding> {
    let names: Vec<_> = files.iter().map(|file| file.name.clone()).collect();
    let work = move || findings(files);
    let thread = thread::Builder::new().name("lint".into()).stack_size(syntax::STACK).spawn(work);
    let findings = thread
        .map_err(|error| error.to_string())
        .and_then(|thread| thread.join().map_err(|_| "the linter failed, which is a defect of Freehold".to_owned()));
    findings.unwrap_or_else(|failure| {
        names.iter().map(|name| finding(&rules::FILE_UNREADABLE, name, 1, &failure)).collect()
    })
}

/// A statement of a file.
pub(super) struct Statement {
    /// The line that it begins on.
    pub(super) line: usize,
    /// It, and the comments behind it.
    pub(super) text: String,
    /// Whether it is a SELECT that makes a table.
    pub(super) is_select_into: bool,
}

/// The statements of a file. A text that cannot be taken apart is one statement.
pub(super) fn statements(sql: &str) -> Vec<Statement> {
    let text = sql.to_owned();
    let work = move || {
        let found = syntax::Script::read(&text).statements;
        let ends = found.iter().skip(1).map(|next| next.offset).chain([text.len()]);
        let statement = |(statement, end): (&syntax::Statement, usize)| {
            let line = text.bytes().take(statement.offset).filter(|byte| *byte == b'\n').count() + 1;
            let is_select_into = statement.nodes.iter().any(|node| tree::holds(node, syntax::Kind::SELECT_INTO));
            let text = text.get(statement.offset..end).unwrap_or_default().trim_end().to_owned();
            Statement { line, text, is_select_into }
        };
        found.iter().zip(ends).map(statement).collect::<Vec<_>>()
    };
    let thread = thread::Builder::new().name("lint".into()).stack_size(syntax::STACK).spawn(work);
    let split = thread.ok().and_then(|thread| thread.join().ok()).filter(|split| !split.is_empty());
    split.unwrap_or_else(|| vec![Statement { line: 1, text: sql.to_owned(), is_select_into: false }])
}

fn finding(rule: &'static Rule, file: &str, line: Place, what: &str) -> Finding {
    let message = if what.is_empty() { rule.reason.to_owned() } else { format!("{what}: {}", rule.reason) };
    Finding { file: file.to_owned(), line, rule: rule.name, level: rule.level, message, safe_form: rule.safe }
}

#[cfg(test)]
mod tests;
