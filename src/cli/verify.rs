//! `freehold verify isolation`: tries, as each tenant, what must not be possible, and counts.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Outcome,
    client::Client,
    output::{self, Column, Output},
    progress::Progress,
};

const COLUMNS: [Column; 4] =
    [("TENANT", "/tenant_id"), ("ATTEMPT", "/attempt"), ("TARGET", "/target"), ("DETAIL", "/detail")];

/// Tries what must not be possible.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Try every tenant's login against all other databases and every right that it should not have.
    #[command(
        after_help = "Exit code 1 when anything was possible or a tenant could not be tried. Nothing is changed."
    )]
    Isolation,
}

/// What programs are told: these members and no others.
#[derive(Debug, Serialize)]
struct Report<'a> {
    attempts: u64,
    successes: u64,
    findings: &'a [Value],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    unproven: &'a [String],
}

/// What was found so far, and one page of it.
#[derive(Debug, Default, Deserialize)]
struct Checked {
    attempts: u64,
    successes: u64,
    findings: Vec<Value>,
    #[serde(default)]
    unproven: Vec<String>,
    #[serde(default)]
    sampled: bool,
    tenants: usize,
    #[serde(default)]
    next: Option<String>,
}

pub(super) async fn run(command: Command, client: Client, output: Output) -> anyhow::Result<Outcome> {
    let Command::Isolation = command;
    let total = check_all(&client).await?;
    let Checked { attempts, successes, ref findings, ref unproven, .. } = total;
    output.either(&Report { attempts, successes, findings, unproven }, total.text())?;
    let is_clean = total.successes == 0 && total.findings.is_empty() && total.unproven.is_empty();
    Ok(if is_clean { Outcome::Success } else { Outcome::Found })
}

async fn check_all(client: &Client) -> anyhow::Result<Checked> {
    let mut progress = Progress::begin("trying");
    let mut total = Checked::default();
    loop {
        let after: Vec<_> = total.next.take().into_iter().map(|next| ("after", next)).collect();
        let page = client.get("/platform/v1/isolation", &after).await?;
        total = total.and(Checked::deserialize(page)?);
        if total.next.is_none() {
            return Ok(total);
        }
        progress.tell(&format!("{} tenants, {} attempts", total.tenants, total.attempts));
    }
}

impl Checked {
    fn and(mut self, page: Self) -> Self {
        self.findings.extend(page.findings);
        self.unproven.extend(page.unproven);
        Self {
            attempts: self.attempts + page.attempts,
            successes: self.successes + page.successes,
            findings: self.findings,
            unproven: self.unproven,
            sampled: self.sampled || page.sampled,
            tenants: self.tenants + page.tenants,
            next: page.next,
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{} attempts by {} tenants, {} successes", self.attempts, self.tenants, self.successes);
        if self.sampled {
            text.push_str("\nsome servers hold so many databases that each tenant was tried against a part of them");
        }
        if !self.unproven.is_empty() {
            text.push_str("\ncould not be tried, so nothing is shown about them: ");
            text.push_str(&self.unproven.join(", "));
        }
        if !self.findings.is_empty() {
            text.push_str("\n\n");
            text.push_str(&output::table(&self.findings, &COLUMNS));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pages_add_up() {
        let page = |value: Value| Checked::deserialize(value).unwrap();
        let first = page(json!({ "attempts": 8, "successes": 0, "findings": [], "tenants": 2, "next": "ten_1" }));
        let finding = json!({ "tenant_id": "ten_2", "attempt": "connect", "target": "postgres", "detail": "open" });
        let last = page(json!({
            "attempts": 4, "successes": 1, "findings": [finding], "tenants": 1, "next": null, "sampled": true,
        }));
        let total = Checked::default().and(first).and(last);
        assert_eq!((total.attempts, total.successes, total.findings.len(), total.tenants), (12, 1, 1, 3));
        assert!(total.sampled && total.next.is_none());
        assert!(total.text().starts_with("12 attempts by 3 tenants, 1 successes"));
    }
}
