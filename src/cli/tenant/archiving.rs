//! `freehold tenant archive`, `restore` and `archives`.

use serde_json::{Value, json};

use super::{FIELDS, PATH};
use crate::{
    cli::{
        client::Client,
        operation,
        output::{Column, Output},
    },
    types::TenantId,
};

const COLUMNS: [Column; 8] = [
    ("ID", "/id"),
    ("BYTES", "/bytes"),
    ("ROWS", "/rows"),
    ("FREEHOLD", "/freehold_version"),
    ("SCHEMA", "/schema_version"),
    ("POSTGRESQL", "/server_version"),
    ("CREATED", "/created_at"),
    ("VERIFIED", "/verified_at"),
];

/// Asks for the action and waits until the tenant is what it leads to.
pub(super) async fn act(id: TenantId, action: &str, client: &Client, output: Output) -> anyhow::Result<()> {
    let path = format!("{PATH}/{id}/{action}");
    let mut answer = Client::patiently(false, async || client.post(&path, &json!({}), None).await).await?;
    if let Some(operation) = answer.get("operation_id").and_then(Value::as_str) {
        operation::watch(client, operation).await?;
        answer = Client::patiently(true, async || client.get(&format!("{PATH}/{id}"), &[]).await).await?;
    }
    output.record(&answer, &FIELDS)
}

pub(super) async fn list(id: TenantId, client: &Client, output: Output) -> anyhow::Result<()> {
    let items = client.whole(&format!("{PATH}/{id}/archives")).await?;
    output.list(&items, None, &COLUMNS)
}
