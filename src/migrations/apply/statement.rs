//! The first words of a file that runs otherwise than in one transaction: enough to know which statement it is, and
//! which index it makes. PostgreSQL reads all the rest.

/// A statement that runs outside a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Alone {
    /// `CREATE [UNIQUE] INDEX CONCURRENTLY name ON table`.
    CreateIndex {
        /// The index's name as the catalogue has it.
        name: String,
        /// The table, as the file writes it.
        table: String,
    },
    /// `DROP INDEX CONCURRENTLY`.
    DropIndex,
    /// `REINDEX {INDEX | TABLE} CONCURRENTLY name`. It may leave indexes that are named after those that they replace.
    Reindex,
    /// `VACUUM` or `ANALYZE`: twice does no harm.
    Maintenance,
}

impl Alone {
    /// Which statement the file holds.
    ///
    /// # Errors
    /// A sentence, if it is none that can be begun again after it was cut off.
    pub(super) fn of(sql: &str) -> Result<Self, &'static str> {
        let words = words(sql);
        let upper: Vec<String> = words.iter().take(6).map(|word| word.to_ascii_uppercase()).collect();
        let upper: Vec<&str> = upper.iter().map(String::as_str).collect();
        match upper.as_slice() {
            ["CREATE", "INDEX", "CONCURRENTLY", ..] => create_index(words.get(3..).unwrap_or_default()),
            ["CREATE", "UNIQUE", "INDEX", "CONCURRENTLY", ..] => create_index(words.get(4..).unwrap_or_default()),
            ["DROP", "INDEX", "CONCURRENTLY", ..] => Ok(Self::DropIndex),
            ["REINDEX", "INDEX" | "TABLE", "CONCURRENTLY", ..] => Ok(Self::Reindex),
            ["VACUUM" | "ANALYZE", ..] => Ok(Self::Maintenance),
            _ => Err("a file without transaction holds CREATE, DROP or REINDEX INDEX CONCURRENTLY, VACUUM or ANALYZE"),
        }
    }
}

fn create_index(words: &[String]) -> Result<Alone, &'static str> {
    let is = |at: usize, word: &str| words.get(at).is_some_and(|other| other.eq_ignore_ascii_case(word));
    let at = if is(0, "IF") && is(1, "NOT") && is(2, "EXISTS") { 3 } else { 0 };
    if is(at, "ON") || !is(at + 1, "ON") {
        return Err("the index needs a name: what an earlier try has left is found by it");
    }
    let at_table = if is(at + 2, "ONLY") { at + 3 } else { at + 2 };
    let (Some(name), Some(first)) = (words.get(at), words.get(at_table)) else { return Err("the index needs a table") };
    let mut table = first.clone();
    if let [dot, second] = words.get(at_table + 1..at_table + 3).unwrap_or_default()
        && dot == "."
    {
        table = format!("{table}.{second}");
    }
    Ok(Alone::CreateIndex { name: unquoted(name), table })
}

/// Whether the file's statement changes rows, and says how many.
pub(super) fn changes_rows(sql: &str) -> bool {
    let first = words(sql).into_iter().next().unwrap_or_default().to_ascii_uppercase();
    ["UPDATE", "DELETE", "INSERT", "MERGE", "WITH"].contains(&first.as_str())
}

/// A name as the catalogue has it.
fn unquoted(word: &str) -> String {
    match word.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(name) => name.replace("\"\"", "\""),
        None => word.to_lowercase(),
    }
}

/// The first words of a statement, quoted names and single marks among them, without white space and comments.
fn words(sql: &str) -> Vec<String> {
    const ENOUGH: usize = 16;
    let (mut words, mut rest) = (Vec::new(), sql);
    while words.len() < ENOUGH {
        rest = without_blank(rest);
        let Some(first) = rest.chars().next() else { break };
        let length = if first == '"' {
            quoted_length(rest)
        } else if is_of_name(first) {
            rest.find(|c| !is_of_name(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (word, after) = rest.split_at(length);
        words.push(word.to_owned());
        rest = after;
    }
    words
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

fn quoted_length(text: &str) -> usize {
    let mut at = 1;
    while let Some(end) = text.get(at..).and_then(|rest| rest.find('"')) {
        at += end + 1;
        if !text.get(at..).is_some_and(|rest| rest.starts_with('"')) {
            return at;
        }
        at += 1;
    }
    text.len()
}

/// What follows white space and comments. Block comments nest.
fn without_blank(sql: &str) -> &str {
    let mut rest = sql.trim_start();
    loop {
        if rest.starts_with("--") {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
        } else if rest.starts_with("/*") {
            rest = after_block(rest);
        } else {
            return rest;
        }
        rest = rest.trim_start();
    }
}

fn after_block(sql: &str) -> &str {
    let (mut depth, mut rest) = (0_u32, sql);
    loop {
        if let Some(inner) = rest.strip_prefix("/*") {
            (depth, rest) = (depth + 1, inner);
        } else if let Some(outer) = rest.strip_prefix("*/") {
            (depth, rest) = (depth.saturating_sub(1), outer);
            if depth == 0 {
                return rest;
            }
        } else {
            let mut chars = rest.chars();
            if chars.next().is_none() {
                return "";
            }
            rest = chars.as_str();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_and_its_table_are_found() {
        let index = |name: &str, table: &str| Ok(Alone::CreateIndex { name: name.into(), table: table.into() });
        for (sql, expected) in [
            (
                "-- freehold:no-transaction\nCREATE INDEX CONCURRENTLY Tasks_Due_Idx ON tasks (due)",
                index("tasks_due_idx", "tasks"),
            ),
            (
                "create /* a /* b */ */ unique index concurrently if not exists \"A \"\"b\" on only public.\"T\"(a)",
                index("A \"b", "public.\"T\""),
            ),
            ("DROP INDEX CONCURRENTLY a", Ok(Alone::DropIndex)),
            ("reindex table concurrently a", Ok(Alone::Reindex)),
            ("VACUUM (ANALYZE) tasks", Ok(Alone::Maintenance)),
        ] {
            assert_eq!(Alone::of(sql), expected, "{sql}");
        }
        for sql in [
            "CREATE INDEX CONCURRENTLY ON tasks (due)",
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS ON tasks (due)",
            "CREATE INDEX a ON tasks (due)",
            "DROP DATABASE x",
            "ALTER SYSTEM SET work_mem = '1GB'",
            "UPDATE tasks SET due = NULL",
            "",
        ] {
            assert!(Alone::of(sql).is_err(), "{sql}");
        }
    }

    #[test]
    fn a_batch_is_a_change_of_rows() {
        assert!(
            changes_rows("-- freehold:batched\n/* why */ with a AS (SELECT 1) UPDATE") && changes_rows("delete from a")
        );
        assert!(!changes_rows("SELECT 1") && !changes_rows("TRUNCATE a") && !changes_rows(""));
    }
}
