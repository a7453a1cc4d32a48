//! `freehold server …`: the PostgreSQL servers that hold tenants' databases.

mod drain;
mod update;

use std::path::PathBuf;

use anyhow::Context;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use update::Update;

use super::{
    Outcome,
    client::Client,
    output::{self, Column, Output},
    progress::Progress,
    secret_input,
};
use crate::types::Random;

/// Where servers are, in the API.
pub(super) const PATH: &str = "/platform/v1/servers";

const COLUMNS: [Column; 12] = [
    ("NAME", "/name"),
    ("ID", "/id"),
    ("PURPOSE", "/purpose"),
    ("HOST", "/host"),
    ("PORT", "/port"),
    ("VERSION", "/version"),
    ("REGION", "/region"),
    ("LABELS", "/labels"),
    ("BUDGET", "/connection_budget"),
    ("TENANTS", "/tenants"),
    ("CAPACITY", "/capacity"),
    ("CORDONED", "/cordoned"),
];

const FINDINGS: [Column; 4] =
    [("SEVERITY", "/severity"), ("CODE", "/code"), ("FINDING", "/message"), ("REMEDY", "/remedy")];

/// Looks after servers.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Register a PostgreSQL server: it is checked and prepared first.
    Add(Add),
    /// List the registered servers.
    List,
    /// Change what is said about a server, and how much it takes.
    Update(Update),
    /// Keep new tenants from a server; those that are there stay and are served.
    Cordon {
        /// Its name, or its id: srv_…
        server: String,
    },
    /// Let new tenants come to a server again.
    Uncordon {
        /// Its name, or its id: srv_…
        server: String,
    },
    /// Cordon a server, and tell who would have to leave it and where they would fit. Nobody is moved.
    Drain {
        /// Its name, or its id: srv_…
        server: String,
    },
    /// Check whether a server is still fit for tenants; exit code 1 when it is not.
    Preflight {
        /// Its name, or its id: srv_…
        server: String,
    },
    /// Give a server's administrative role another password, which only Freehold knows.
    RotateCredentials {
        /// Its name, or its id: srv_…
        server: String,
        /// The role has another password already: read it from standard input.
        #[arg(long)]
        password_stdin: bool,
    },
}

/// The arguments of `freehold server add`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The administrative URL holds a password, so it is read from a file or from standard input:
  postgres://ROLE:PASSWORD@HOST:PORT/postgres?sslmode=verify-full
The role needs CREATEDB and CREATEROLE and must not be a superuser.

Examples:
  freehold server add eu-1 --admin-url-file eu-1.url --region eu --label disk=ssd
  pass show postgres/eu-1 | freehold server add eu-1 --admin-url-stdin")]
pub(super) struct Add {
    /// Its name: lower-case letters, digits and hyphens.
    name: String,
    /// Read the administrative URL from standard input.
    #[arg(long, required_unless_present = "admin_url_file", conflicts_with = "admin_url_file")]
    admin_url_stdin: bool,
    /// Read the administrative URL from a file.
    #[arg(long, value_name = "FILE")]
    admin_url_file: Option<PathBuf>,
    /// Where it stands.
    #[arg(long)]
    region: Option<String>,
    /// A label of your own; may be given more than once.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// The most connections that all replicas together may hold to its tenants' databases.
    #[arg(long, value_name = "N")]
    connection_budget: Option<u32>,
    /// The most tenants that it takes.
    #[arg(long, value_name = "N")]
    capacity: Option<u32>,
    /// How many databases are kept ready for new tenants; without it as many as demand asks for.
    #[arg(long, value_name = "N")]
    warm_target: Option<u32>,
}

pub(super) fn label(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("must have the form NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) async fn run(command: Command, client: Client, output: Output) -> anyhow::Result<Outcome> {
    match command {
        Command::Add(add) => {
            // The key makes it safe to ask again when an answer was lost: the same server is told again.
            let (body, key) = (add.body()?, format!("cli-{}", Random.token()));
            let progress = Progress::begin("registering: shared roles and a template are made on the server");
            let server = Client::patiently(false, async || client.post(PATH, &body, Some(&key)).await).await?;
            drop(progress);
            output.record(&server, &COLUMNS)?;
            for warning in server.get("warnings").and_then(Value::as_array).into_iter().flatten() {
                let text =
                    |name: &str| output::printable(warning.get(name).and_then(Value::as_str).unwrap_or_default());
                output::note(format_args!("warning: {}; {}", text("message"), text("remedy")));
            }
        }
        Command::List => {
            let items = client.whole(PATH).await?;
            output.list(&items, None, &COLUMNS)?;
        }
        Command::Update(update) => {
            let path = format!("{PATH}/{}", id_of(&client, &update.server).await?);
            output.record(&client.patch(&path, &update.body()).await?, &COLUMNS)?;
        }
        Command::Cordon { server } => output.record(&act(&client, &server, "cordon").await?, &COLUMNS)?,
        Command::Uncordon { server } => output.record(&act(&client, &server, "uncordon").await?, &COLUMNS)?,
        Command::Drain { server } => drain::print(&act(&client, &server, "drain").await?, output)?,
        Command::Preflight { server } => {
            let path = format!("{PATH}/{}/preflight", id_of(&client, &server).await?);
            return preflight(&client.get(&path, &[]).await?, output);
        }
        Command::RotateCredentials { server, password_stdin } => {
            let mut body = json!({});
            if password_stdin {
                let password = secret_input::from_stdin("the password on standard input")?;
                body["password"] = password.expose_secret().into();
            }
            let path = format!("{PATH}/{}/rotate-credentials", id_of(&client, &server).await?);
            output.record(&client.post(&path, &body, None).await?, &COLUMNS)?;
        }
    }
    Ok(Outcome::Success)
}

fn preflight(checked: &Value, output: Output) -> anyhow::Result<Outcome> {
    if output.is_json() {
        output.record(checked, &[])?;
    } else {
        let findings = checked.get("findings").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        output.list(findings, None, &FINDINGS)?;
    }
    let is_fit = checked.get("fit").and_then(Value::as_bool).unwrap_or_default();
    Ok(if is_fit { Outcome::Success } else { Outcome::Found })
}

async fn act(client: &Client, server: &str, action: &str) -> anyhow::Result<Value> {
    let path = format!("{PATH}/{}/{action}", id_of(client, server).await?);
    Ok(client.post(&path, &json!({}), None).await?)
}

/// The id of the server with this id or name.
async fn id_of(client: &Client, server: &str) -> anyhow::Result<String> {
    let servers = client.whole(PATH).await?;
    let text = |item: &Value, name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let found = servers.iter().find(|item| text(item, "id") == server || text(item, "name") == server);
    found.map(|item| text(item, "id")).with_context(|| format!("there is no server {server}: freehold server list"))
}

impl Add {
    fn body(&self) -> anyhow::Result<Value> {
        let admin_url = match &self.admin_url_file {
            Some(path) => secret_input::from_file(path, "the file with the administrative URL"),
            None => secret_input::from_stdin("the administrative URL on standard input"),
        }
        .context("the administrative URL is needed")?;
        let labels: Map<_, _> = self.labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let mut body = json!({ "name": self.name, "admin_url": admin_url.expose_secret(), "labels": labels });
        if let Some(region) = &self.region {
            body["region"] = region.as_str().into();
        }
        let numbers = [
            ("connection_budget", self.connection_budget),
            ("capacity", self.capacity),
            ("warm_target", self.warm_target),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                body[name] = number.into();
            }
        }
        Ok(body)
    }
}
