//! `freehold tenant adopt`.

use std::fmt::Write as _;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::show_made;
use crate::{
    cli::{
        Outcome,
        client::Client,
        output::{self, Output},
        secret_input,
    },
    types::{DisplayName, Email, Random, Slug},
};

/// Where databases are adopted, in the API.
const PATH: &str = "/platform/v1/adoptions";

/// The arguments of `freehold tenant adopt`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The database's schema has to be that of a published version of the product's migrations. It gets another name, another
owner and Freehold's own schema beside the product's; no row of it is changed. Stop whoever uses it before: nobody is
thrown out. With --dry-run the verdict is ready, drifted, conflict or error, and the exit code 1 for all but ready.

Examples:
  freehold tenant adopt acme --server main --database shop_acme --dry-run
  freehold tenant adopt acme --server main --database shop_acme --admin-email ada@acme.example")]
pub(in crate::cli) struct Adopt {
    /// The tenant's public name: 3 to 63 of a-z, 0-9 and hyphen, beginning with a letter.
    slug: Slug,
    /// The server that holds the database.
    #[arg(long)]
    server: String,
    /// The database's name there.
    #[arg(long)]
    database: String,
    /// The version of the product's migrations that it has; else what its history says, or the newest.
    #[arg(long)]
    version: Option<i32>,
    /// Only say whether it can be adopted.
    #[arg(long)]
    dry_run: bool,
    /// The tenant's name for people; else the slug.
    #[arg(long)]
    name: Option<DisplayName>,
    /// The plan that it is on.
    #[arg(long)]
    plan: Option<String>,
    /// Its first administrator's e-mail address; without one nobody can sign in until somebody is invited.
    #[arg(long)]
    admin_email: Option<Email>,
    /// Read the administrator's password (15 characters or more) from standard input.
    #[arg(long, requires = "admin_email")]
    admin_password_stdin: bool,
    /// Answer as soon as the tenant is recorded; the database is adopted whatever happens next.
    #[arg(long)]
    no_wait: bool,
}

pub(super) async fn run(adopt: &Adopt, client: &Client, output: Output) -> anyhow::Result<Outcome> {
    let password = if adopt.admin_password_stdin {
        Some(secret_input::from_stdin("the password on standard input")?)
    } else {
        None
    };
    let body = adopt.body(password.as_ref());
    if adopt.dry_run {
        let found = client.post(PATH, &body, None).await?;
        output.either(&found, verdict(&found))?;
        let is_ready = found.get("verdict").is_some_and(|verdict| verdict == "ready");
        return Ok(if is_ready { Outcome::Success } else { Outcome::Found });
    }
    // The key makes it safe to ask again when an answer was lost: the same tenant is told again.
    let key = format!("cli-{}", Random.token());
    let made = Client::patiently(false, async || client.post(PATH, &body, Some(&key)).await).await?;
    show_made(client, made, adopt.no_wait, output).await?;
    Ok(Outcome::Success)
}

impl Adopt {
    fn body(&self, password: Option<&SecretString>) -> Value {
        let name = self.name.as_ref().map_or_else(|| self.slug.to_string(), ToString::to_string);
        let mut body = json!({ "slug": self.slug, "name": name, "server": self.server, "database": self.database });
        if let Some(email) = &self.admin_email {
            body["admin"] = json!({ "email": email });
        }
        if let Some(password) = password {
            body["admin"]["password"] = password.expose_secret().into();
        }
        if let Some(plan) = &self.plan {
            body["plan"] = plan.as_str().into();
        }
        if let Some(version) = self.version {
            body["version"] = version.into();
        }
        if self.dry_run {
            body["dry_run"] = true.into();
        }
        body
    }
}

/// A verdict in words, with all that it rests on.
fn verdict(found: &Value) -> String {
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(output::printable).unwrap_or_default();
    let list = |name: &str| found.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let version = found.get("schema_version").and_then(Value::as_i64).unwrap_or_default();
    let mut told = format!("{} (compared with the product's version {version})", text(found, "verdict"));
    if found.get("error").is_some_and(Value::is_string) {
        let _ = write!(told, "\n\n{}", text(found, "error"));
    }
    for conflict in list("conflicts") {
        let _ = write!(told, "\n\n{}: {}", text(&conflict, "code"), text(&conflict, "detail"));
    }
    for difference in list("differences") {
        let _ = write!(told, "\n\n{}", output::difference(&difference));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_told_with_all_that_it_rests_on() {
        let found = json!({
            "verdict": "conflict", "schema_version": 3, "error": null,
            "conflicts": [{ "code": "database_in_use", "detail": "sessions are in it" }],
            "differences": [{ "object": "relation public.t", "expected": null, "actual": "table owner o" }],
        });
        let told = verdict(&found);
        assert!(
            told.starts_with("conflict (compared with the product's version 3)\n\ndatabase_in_use: sessions"),
            "{told}"
        );
        assert!(told.contains("relation public.t"), "{told}");
    }
}
