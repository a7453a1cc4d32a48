//! `freehold user …` and `freehold operator …`: the people of the tenant whose API key is used; operators, with an
//! operator's.

mod import;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::{
    Outcome,
    client::Client,
    output::{Column, Output, note},
};

const PATH: &str = "/v1/users";

const COLUMNS: [Column; 6] = [
    ("ID", "/id"),
    ("EMAIL", "/email"),
    ("NAME", "/name"),
    ("ROLE", "/role"),
    ("ACTIVE", "/active"),
    ("CREATED", "/created_at"),
];

const FIELDS: [Column; 10] = [
    ("id", "/id"),
    ("email", "/email"),
    ("email verified", "/email_verified"),
    ("name", "/name"),
    ("role", "/role"),
    ("kind", "/kind"),
    ("active", "/active"),
    ("created", "/created_at"),
    ("updated", "/updated_at"),
    ("deleted", "/deleted_at"),
];

const INVITATION: [Column; 5] =
    [("id", "/id"), ("email", "/email"), ("role", "/role"), ("expires", "/expires_at"), ("token", "/token")];

const LOCKOUT: [Column; 4] = [("locked", "/locked"), ("until", "/until"), ("failures", "/failures"), ("by", "/by")];

/// Looks after people.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
The key decides whose people these are. With an operator's key and the admin listener they are the operators; with the
key of a tenant's administrator and that tenant's own address they are the tenant's.

Examples:
  freehold user list --role admin
  freehold user deactivate bill@initech.example   # sessions, API keys and open invitations end at once
  freehold user invite ada@initech.example --role member
  freehold user unlock bill@initech.example       # after too many wrong passwords
  freehold user revoke-sessions usr_…")]
pub(super) enum Command {
    /// List people and service accounts.
    List(List),
    /// Show one of them.
    Show(One),
    /// Keep somebody from signing in, and end all that lets them in now.
    Deactivate(One),
    /// Let somebody sign in again.
    Activate(One),
    /// End all sessions of somebody, who may sign in again.
    RevokeSessions(One),
    /// Bring people into a tenant from another system, with the hashes of their passwords.
    #[command(after_help = "\
Each line is a person: {\"email\": \"ada@example.com\", \"password_hash\": \"$2b$12$…\"}. Besides these it may say name,
role, email_verified, active and external_id. This takes an operator's key, and its right tenants:import.

Examples:
  freehold user import acme people.ndjson --dry-run
  freehold user import acme people.ndjson -o json > results.json")]
    Import(import::Import),
    /// Give somebody another role.
    Role(Role),
    /// Invite somebody, and print the secret with which they accept.
    Invite(Invite),
    /// Show whether somebody is locked out because of failed attempts to sign in.
    Lockout(One),
    /// Forget somebody's failed attempts to sign in.
    Unlock(One),
}

/// The arguments of `freehold user list`.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Part of a name or an address.
    #[arg(long)]
    q: Option<String>,
    /// Only those with this role.
    #[arg(long)]
    role: Option<String>,
    /// Only those in this state.
    #[arg(long, value_parser = ["active", "inactive", "deleted"])]
    state: Option<String>,
    /// Only accounts of this kind.
    #[arg(long, value_parser = ["person", "service"])]
    kind: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 50, conflicts_with = "all")]
    limit: usize,
    /// All of them.
    #[arg(long)]
    all: bool,
}

/// The arguments of `freehold user role`.
#[derive(Debug, clap::Args)]
pub(super) struct Role {
    /// Their id (usr_…), or their address.
    user: String,
    /// The role that they shall have.
    role: String,
}

/// The arguments of `freehold user invite`.
#[derive(Debug, clap::Args)]
pub(super) struct Invite {
    /// Their address.
    email: String,
    /// The role that they are to have.
    #[arg(long)]
    role: String,
}

/// Somebody.
#[derive(Debug, clap::Args)]
pub(super) struct One {
    /// Their id (usr_…), or their address.
    user: String,
}

pub(super) async fn run(command: Command, client: Client, output: Output) -> anyhow::Result<Outcome> {
    match command {
        Command::List(list) => show_list(list, &client, output).await?,
        Command::Show(one) => output.record(&find(&client, &one.user).await?, &FIELDS)?,
        Command::Deactivate(one) => change(&client, &one.user, &json!({ "active": false }), output).await?,
        Command::Activate(one) => change(&client, &one.user, &json!({ "active": true }), output).await?,
        Command::Role(Role { user, role }) => change(&client, &user, &json!({ "role": role }), output).await?,
        Command::Invite(invite) => {
            let body = json!({ "email": invite.email, "role": invite.role });
            output.record(&client.post("/v1/invitations", &body, None).await?, &INVITATION)?;
        }
        Command::Lockout(one) => show_lockout(&client, &id(&client, &one.user).await?, output).await?,
        Command::Unlock(one) => {
            let id = id(&client, &one.user).await?;
            client.post(&format!("{PATH}/{id}/unlock"), &json!({}), None).await?;
            show_lockout(&client, &id, output).await?;
        }
        Command::Import(import) => return import::run(import, &client, output).await,
        Command::RevokeSessions(one) => {
            let path = format!("{PATH}/{}/revoke-sessions", id(&client, &one.user).await?);
            let answer = Client::patiently(false, async || client.post(&path, &json!({}), None).await).await?;
            output.record(&answer, &[("revoked", "/revoked")])?;
        }
    }
    Ok(Outcome::Success)
}

async fn show_list(list: List, client: &Client, output: Output) -> anyhow::Result<()> {
    let List { q, role, state, kind, limit, all } = list;
    let wanted = [("q", q), ("role", role), ("state", state), ("kind", kind)];
    let filter: Vec<_> = wanted.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let at_most = if all { usize::MAX } else { limit };
    let (items, next) = client.items(PATH, &filter, at_most).await?;
    output.list(&items, next.as_deref(), &COLUMNS)?;
    if next.is_some() && !output.is_json() {
        note("there are more: --limit N or --all shows them");
    }
    Ok(())
}

async fn change(client: &Client, user: &str, body: &Value, output: Output) -> anyhow::Result<()> {
    let path = format!("{PATH}/{}", id(client, user).await?);
    let user = Client::patiently(false, async || client.patch(&path, body).await).await?;
    output.record(&user, &FIELDS)
}

async fn show_lockout(client: &Client, id: &str, output: Output) -> anyhow::Result<()> {
    let path = format!("{PATH}/{id}/lockout");
    output.record(&Client::patiently(false, async || client.get(&path, &[]).await).await?, &LOCKOUT)
}

async fn id(client: &Client, user: &str) -> anyhow::Result<String> {
    if user.starts_with("usr_") {
        return Ok(user.to_owned());
    }
    let found = find(client, user).await?;
    Ok(found.get("id").and_then(Value::as_str).context("the answer holds no user")?.to_owned())
}

/// The user with this id or address, deleted ones by their id only.
async fn find(client: &Client, user: &str) -> anyhow::Result<Value> {
    if user.starts_with("usr_") {
        return Ok(Client::patiently(false, async || client.get(&format!("{PATH}/{user}"), &[]).await).await?);
    }
    let (items, _) = client.items(PATH, &[("q", user.to_owned())], usize::MAX).await?;
    let is_asked =
        |item: &Value| item.get("email").and_then(Value::as_str).is_some_and(|one| one.eq_ignore_ascii_case(user));
    match items.into_iter().find(is_asked) {
        Some(found) => Ok(found),
        None => bail!("nobody has the address {user}"),
    }
}
