//! Reads from a statement's text what state the statement may leave on its session.

use std::{hash, ptr};

/// A statement of the program. It is identified by the address of its text, so that lookups need not compare texts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Statement(&'static str);

impl From<&'static str> for Statement {
    fn from(text: &'static str) -> Self {
        Self(text)
    }
}

impl PartialEq for Statement {
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(self.0, other.0)
    }
}

impl Eq for Statement {}

impl hash::Hash for Statement {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        ptr::hash(self.0.as_ptr(), state);
        self.0.len().hash(state);
    }
}

/// In bytes. PostgreSQL cuts a longer name short, and so knows it under another one (PostgreSQL manual, Identifiers and Key
/// Words).
const MAX_NAME: usize = 63;

impl Statement {
    /// All names in the text of a read-only query, in lower case: everything that may be a table, a column, a type or a
    /// function, and all keywords. `None` when the statement may write, or its text has syntax that is not parsed here.
    /// Then nothing is known about the statement.
    pub(super) fn names(self) -> Option<Vec<String>> {
        // The meaning of a backslash depends on settings of the session.
        if self.0.contains('\\') {
            return None;
        }
        let mut names = Vec::new();
        let mut rest = self.0;
        while let Some(first) = rest.chars().next() {
            rest = match first {
                'a'..='z' | 'A'..='Z' | '_' => {
                    let (name, after) = rest.split_at(rest.find(|c| !is_of_name(c)).unwrap_or(rest.len()));
                    (name.len() <= MAX_NAME).then(|| names.push(name.to_ascii_lowercase()))?;
                    // E'…', U&'…' and similar literals have their own rules.
                    (!after.starts_with(['\'', '&'])).then_some(after)?
                }
                '\'' => rest[1..].split_once('\'')?.1,
                // A parameter, or a text between two $$.
                '$' => rest[1..].strip_prefix(|c: char| c.is_ascii_digit())?,
                '-' if rest.starts_with("--") => return None,
                '/' if rest.starts_with("/*") => return None,
                '"' | ';' => return None,
                _ if first.is_ascii() => &rest[1..],
                _ => return None,
            };
        }
        let reads = names.first().is_some_and(|name| name == "select") && !names.iter().any(|name| name == "into");
        reads.then_some(names)
    }
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$') || !c.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &'static str) -> Option<String> {
        Statement::from(text).names().map(|names| names.join(" "))
    }

    #[test]
    fn every_name_of_a_text_that_reads_is_found() {
        for (text, expected) in [
            ("SELECT id FROM projects WHERE id = $1", "select id from projects where id"),
            ("select p.Full_Name from a.projects p", "select p full_name from a projects p"),
            ("SELECT f(x)::public.mood, 'it''s g(y)' || $2::text", "select f x public mood text"),
            ("SELECT 1e5, x -1 / 2 FROM t FOR UPDATE", "select e5 x from t for update"),
        ] {
            assert_eq!(names(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn nothing_is_said_of_other_texts() {
        for text in [
            "",
            "INSERT INTO t VALUES (1)",
            "UPDATE t SET a = 1",
            "DELETE FROM t",
            "WITH a AS (DELETE FROM t RETURNING 1) SELECT 1",
            "SET search_path = a",
            "LISTEN a",
            "PREPARE a AS SELECT 1",
            "SELECT 1 INTO t",
            "SELECT 1; SET a.b = 1",
            "SELECT \"f\"(1)",
            "SELECT U&'\\0061'",
            "SELECT E'\\''",
            "SELECT $$a$$",
            "SELECT $a$b$a$",
            "SELECT 1 -- f()",
            "SELECT 1 /* ' */ + f('')",
            "SELECT 'open",
            "SELECT größe FROM t, ä",
            "SELECT leaves_a_trace_under_a_name_that_postgresql_cuts_at_63_bytes_of_it(1)",
        ] {
            assert_eq!(names(text), None, "{text}");
        }
    }

    #[test]
    fn a_statement_is_known_by_where_its_text_is() {
        const TEXT: &str = "SELECT 1";
        let other: &'static str = String::from(TEXT).leak();
        assert_eq!(Statement::from(TEXT), Statement::from(TEXT));
        assert_ne!(Statement::from(other), Statement::from(TEXT));
    }
}
