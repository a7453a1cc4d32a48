//! `freehold rollout plan --rehearse`: what the migrations do to a copy of a tenant's database, statement by statement.

use anyhow::Context as _;
use serde_json::{Value, json};

use super::plan;
use crate::cli::{
    Outcome,
    client::Client,
    operation,
    output::{self, Column, Output},
    tenant,
};

const COLUMNS: [Column; 7] = [
    ("FILE", "/place"),
    ("STATEMENT", "/statement"),
    ("MS", "/duration_ms"),
    ("ROWS", "/rows"),
    ("LOCKS", "/told_locks"),
    ("REWRITTEN", "/rewritten"),
    ("ERROR", "/error"),
];
/// How much of a statement is shown in a table.
const SHOWN: usize = 60;

/// Rehearses, and shows the plan with what was found. With `-o json` the plan has a member `rehearsal`.
pub(super) async fn show(
    mut planned: Value,
    (tenant, target): (&str, Option<i32>),
    client: &Client,
    output: Output,
) -> anyhow::Result<Outcome> {
    let found = tenant::find(client, tenant).await?;
    let id = found.get("id").and_then(Value::as_str).context("the answer names no tenant")?;
    let path = format!("/platform/v1/tenants/{id}");
    let body = target.map_or_else(|| json!({}), |target| json!({ "target_version": target }));
    let started = client.post(&format!("{path}/rehearse"), &body, None).await?;
    let operation = started.get("operation_id").and_then(Value::as_str).context("the answer names no operation")?;
    operation::watch(client, operation).await?;
    let rehearsal = client.get(&format!("{path}/rehearsal"), &[]).await?;
    let succeeded = rehearsal.get("succeeded").and_then(Value::as_bool) == Some(true);
    if output.is_json() {
        if let Some(members) = planned.as_object_mut() {
            members.insert("rehearsal".to_owned(), rehearsal);
        }
        plan(&planned, output)?;
    } else {
        plan(&planned, output)?;
        let statements = rehearsal.get("statements").and_then(Value::as_array).cloned().unwrap_or_default();
        let rows: Vec<_> = statements.into_iter().map(row).collect();
        if rows.is_empty() {
            output::note(format!("The tenant {tenant} lacks no migration."));
        } else {
            output::print(format_args!("\nOn a copy of {tenant}:\n{}", output::table(&rows, &COLUMNS)))?;
        }
    }
    Ok(if succeeded { Outcome::Success } else { Outcome::Found })
}

/// A statement as a row of the table: `public.projects AccessExclusiveLock 12 ms`.
fn row(mut statement: Value) -> Value {
    let text = |of: &Value, name: &str| {
        of.get(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let lock = |lock: &Value| {
        let part = |name| text(lock, name).unwrap_or_default();
        format!("{} {} {} ms", part("table"), part("mode"), part("held_ms"))
    };
    let locks = statement.get("locks").and_then(Value::as_array).into_iter().flatten().map(lock).collect::<Vec<_>>();
    let place =
        format!("{}:{}", text(&statement, "file").unwrap_or_default(), text(&statement, "line").unwrap_or_default());
    let short: String = text(&statement, "statement").unwrap_or_default().chars().take(SHOWN).collect();
    if let Some(members) = statement.as_object_mut() {
        members.insert("place".to_owned(), json!(place));
        members.insert("statement".to_owned(), json!(short));
        members.insert("told_locks".to_owned(), json!(locks.join("; ")));
    }
    statement
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_a_row_with_its_locks() {
        let lock = json!({ "table": "public.a", "mode": "AccessExclusiveLock", "held_ms": 12 });
        let shown = row(json!({ "file": "V2__a.sql", "line": 3, "statement": "x".repeat(99), "locks": [lock, lock] }));
        assert_eq!(shown["place"], "V2__a.sql:3");
        assert_eq!(shown["told_locks"], "public.a AccessExclusiveLock 12 ms; public.a AccessExclusiveLock 12 ms");
        assert_eq!(shown["statement"].as_str().map(str::len), Some(SHOWN));
    }
}
