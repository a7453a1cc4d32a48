//! `freehold tenant …`: tenants made, listed, looked at, changed, given other secrets, and deleted.

mod adoption;
mod archiving;
mod change;
mod cloning;
mod deletion;

use anyhow::{Context, ensure};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{
    Outcome,
    client::Client,
    operation,
    output::{self, Column, Output},
    secret_input,
};
use crate::types::{DisplayName, Email, Random, Slug, TenantId};

/// Where tenants are, in the API.
pub(super) const PATH: &str = "/platform/v1/tenants";

const COLUMNS: [Column; 7] = [
    ("SLUG", "/slug"),
    ("ID", "/id"),
    ("NAME", "/name"),
    ("STATE", "/state"),
    ("PLAN", "/plan"),
    ("SERVER", "/server"),
    ("CREATED", "/created_at"),
];
const FIELDS: [Column; 13] = [
    ("id", "/id"),
    ("slug", "/slug"),
    ("name", "/name"),
    ("state", "/state"),
    ("plan", "/plan"),
    ("server", "/server"),
    ("freehold version", "/freehold_version"),
    ("schema version", "/schema_version"),
    ("labels", "/labels"),
    ("suspended for", "/suspension_reason"),
    ("erased after", "/erase_after"),
    ("created", "/created_at"),
    ("url", "/url"),
];

const SIGNING_KEY: [Column; 2] = [("key", "/key_id"), ("signs from", "/signs_from")];

/// Looks after tenants.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a tenant with a database of its own, and wait until it serves.
    Create(Box<Create>),
    /// List tenants, the newest first.
    List(List),
    /// Show one tenant.
    Show {
        /// Its slug, or its id: ten_…
        tenant: String,
    },
    /// Refuse every request to a tenant, until it is resumed.
    Suspend(change::Suspend),
    /// Open a suspended tenant again.
    Resume {
        /// Its id: ten_…
        #[arg(value_parser = id)]
        id: TenantId,
    },
    /// Give a tenant another slug; its old host leads to the new one for a time.
    Rename {
        /// Its id: ten_…
        #[arg(value_parser = id)]
        id: TenantId,
        /// The new slug.
        slug: Slug,
    },
    /// Change a tenant's name, plan or labels.
    Update(change::Update),
    /// Make a new tenant with the rows that another one holds.
    Clone(cloning::Clone),
    /// Make a database that is there already a tenant's.
    Adopt(Box<adoption::Adopt>),
    /// Archive a tenant: it is refused, and its database becomes an encrypted archive.
    Archive {
        /// Its id: ten_…
        #[arg(value_parser = id)]
        id: TenantId,
    },
    /// Wake an archived tenant.
    Restore {
        /// Its id: ten_…
        #[arg(value_parser = id)]
        id: TenantId,
    },
    /// List a tenant's archives, the newest first.
    Archives {
        /// Its id: ten_…
        #[arg(value_parser = id)]
        id: TenantId,
    },
    /// Delete a tenant: it is refused at once, and erased after a time in which it can be had back.
    Delete(deletion::Delete),
    /// Take a deletion back.
    Undelete {
        /// Its id: ten_…
        #[arg(value_parser = id)]
        id: TenantId,
    },
    /// Show what was destroyed with an erased tenant.
    Certificate {
        /// Its id: ten_…
        #[arg(value_parser = id)]
        id: TenantId,
    },
    /// Give a tenant's database role another password, without a failed request, and wait for it.
    RotateCredentials {
        /// Its id: ten_…
        #[arg(value_parser = id)]
        id: TenantId,
    },
    /// Give a tenant another key to sign access tokens with.
    RotateSigningKeys {
        /// Its id: ten_…
        #[arg(value_parser = id)]
        id: TenantId,
        /// A key has leaked: what earlier keys signed is worth nothing from now on. Nobody has to sign in again, but
        /// every program that holds an access token has to get another one with its refresh token.
        #[arg(long)]
        revoke_previous: bool,
    },
}

/// What changes a tenant takes its id alone: slugs pass from one tenant to another.
fn id(text: &str) -> Result<TenantId, String> {
    text.parse().map_err(|_| {
        format!("a tenant is changed by its id, ten_ and 32 digits; find it with: freehold tenant show {text}")
    })
}

/// The arguments of `freehold tenant create`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  freehold tenant create initech --admin-email bill@initech.example
  echo \"$PASSWORD\" | freehold tenant create initech --plan default \\
      --admin-email bill@initech.example --admin-password-stdin

With a password the administrator can sign in at once; without one an invitation is printed, once.")]
pub(super) struct Create {
    /// Its public name, part of its host: 3 to 63 of a-z, 0-9 and hyphen, beginning with a letter.
    slug: Slug,
    /// Its name for people; else the slug.
    #[arg(long)]
    name: Option<DisplayName>,
    /// The plan that it is on.
    #[arg(long)]
    plan: Option<String>,
    /// The server that it shall live on; else the least full one.
    #[arg(long)]
    server: Option<String>,
    /// The region that it shall live in.
    #[arg(long)]
    region: Option<String>,
    /// A label that its server shall have; may be given more than once.
    #[arg(long = "server-label", value_name = "NAME=VALUE", value_parser = super::server::label)]
    server_labels: Vec<(String, String)>,
    /// Its first administrator's e-mail address; without one nobody can sign in until somebody is invited.
    #[arg(long)]
    admin_email: Option<Email>,
    /// Read the administrator's password (15 characters or more) from standard input.
    #[arg(long, requires = "admin_email")]
    admin_password_stdin: bool,
    /// Answer as soon as the tenant is recorded; it is made whatever happens next.
    #[arg(long)]
    no_wait: bool,
}

/// The arguments of `freehold tenant list`.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only those whose slug or name holds this text.
    #[arg(long)]
    q: Option<String>,
    /// Only those in this state: provisioning, active, suspended, archived, deleting or deleted.
    #[arg(long)]
    state: Option<String>,
    /// Only those on this plan.
    #[arg(long)]
    plan: Option<String>,
    /// Only those on this server.
    #[arg(long)]
    server: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 50, conflicts_with = "all")]
    limit: usize,
    /// All of them, however many there are.
    #[arg(long)]
    all: bool,
}

pub(super) async fn run(command: Command, client: Client, output: Output) -> anyhow::Result<Outcome> {
    match command {
        Command::Create(create) => make(*create, &client, output).await?,
        Command::List(list) => show_all(list, &client, output).await?,
        Command::Show { tenant } => output.record(&find(&client, &tenant).await?, &FIELDS)?,
        Command::Suspend(suspend) => change::suspend(&suspend, &client, output).await?,
        Command::Resume { id } => change::resume(id, &client, output).await?,
        Command::Rename { id, slug } => change::rename(id, &slug, &client, output).await?,
        Command::Update(update) => change::update(&update, &client, output).await?,
        Command::Delete(delete) => deletion::delete(&delete, &client, output).await?,
        Command::Clone(clone) => cloning::make(&clone, &client, output).await?,
        Command::Adopt(adopt) => return adoption::run(&adopt, &client, output).await,
        Command::Archive { id } => archiving::act(id, "archive", &client, output).await?,
        Command::Restore { id } => archiving::act(id, "restore", &client, output).await?,
        Command::Archives { id } => archiving::list(id, &client, output).await?,
        Command::Undelete { id } => deletion::undelete(id, &client, output).await?,
        Command::Certificate { id } => deletion::certificate(id, &client, output).await?,
        Command::RotateCredentials { id } => rotate_credentials(id, &client, output).await?,
        Command::RotateSigningKeys { id, revoke_previous } => {
            let path = format!("{PATH}/{id}/rotate-signing-keys");
            let rotated = client.post(&path, &json!({ "revoke_previous": revoke_previous }), None).await?;
            output.record(&rotated, &SIGNING_KEY)?;
        }
    }
    Ok(Outcome::Success)
}

async fn make(create: Create, client: &Client, output: Output) -> anyhow::Result<()> {
    let password = if create.admin_password_stdin {
        Some(secret_input::from_stdin("the password on standard input")?)
    } else {
        None
    };
    let body = create.body(password.as_ref());
    // The key makes it safe to ask again when an answer was lost: the same tenant is told again.
    let key = format!("cli-{}", Random.token());
    let made = Client::patiently(false, async || client.post(PATH, &body, Some(&key)).await).await?;
    show_made(client, made, create.no_wait, output).await
}

/// Shows a tenant that was asked for, once it serves unless told not to wait, and its administrator's invitation.
async fn show_made(client: &Client, made: Value, no_wait: bool, output: Output) -> anyhow::Result<()> {
    let invitation = made.get("admin_invitation").cloned().unwrap_or_default();
    let made = if no_wait { made } else { wait(client, made).await? };
    output.record(&made, &FIELDS)?;
    if !output.is_json() && !invitation.is_null() {
        let text = |name: &str| invitation.get(name).and_then(Value::as_str).map(output::printable).unwrap_or_default();
        output::print(format_args!(
            "\nThe administrator's invitation, shown this once (until {}):",
            text("expires_at")
        ))?;
        output::print(format_args!("  {}", text("url")))?;
        output::print(format_args!("  token: {}", text("token")))?;
    }
    Ok(())
}

impl Create {
    fn body(&self, password: Option<&SecretString>) -> Value {
        let name = self.name.as_ref().map_or_else(|| self.slug.to_string(), ToString::to_string);
        let mut body = json!({ "slug": self.slug, "name": name });
        if let Some(email) = &self.admin_email {
            body["admin"] = json!({ "email": email });
        }
        if let Some(password) = password {
            body["admin"]["password"] = password.expose_secret().into();
        }
        for (field, value) in [("plan", &self.plan), ("server", &self.server), ("region", &self.region)] {
            if let Some(value) = value {
                body[field] = value.as_str().into();
            }
        }
        for (name, value) in &self.server_labels {
            body["server_labels"][name] = value.as_str().into();
        }
        body
    }
}

/// The answer to the creation, brought up to date once the operation has succeeded. What it tells only once stays.
async fn wait(client: &Client, mut made: Value) -> anyhow::Result<Value> {
    let text = |name: &str| made.get(name).and_then(Value::as_str).map(str::to_owned);
    let (id, operation) = (text("id"), text("operation_id"));
    let id = id.context("the answer holds no tenant's id")?;
    if let Some(operation) = operation {
        operation::watch(client, &operation).await?;
    }
    let now = Client::patiently(true, async || client.get(&format!("{PATH}/{id}"), &[]).await).await?;
    if let (Value::Object(made), Value::Object(now)) = (&mut made, now) {
        let told_once = |name: &String| matches!(name.as_str(), "operation_id" | "admin_invitation");
        made.extend(now.into_iter().filter(|(name, _)| !told_once(name)));
    }
    Ok(made)
}

async fn show_all(list: List, client: &Client, output: Output) -> anyhow::Result<()> {
    let filter = [("q", list.q), ("state", list.state), ("plan", list.plan), ("server", list.server)];
    let filter: Vec<_> = filter.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let at_most = if list.all { usize::MAX } else { list.limit };
    let (items, next) = client.items(PATH, &filter, at_most).await?;
    output.list(&items, next.as_deref(), &COLUMNS)?;
    if next.is_some() {
        output::note("There are more: narrow the list down, raise --limit, or say --all.");
    }
    Ok(())
}

async fn rotate_credentials(id: TenantId, client: &Client, output: Output) -> anyhow::Result<()> {
    let path = format!("{PATH}/{id}/rotate-credentials");
    let mut tenant = client.post(&path, &json!({}), None).await?;
    let operation = tenant.get("operation_id").and_then(Value::as_str).context("the answer names no operation")?;
    operation::watch(client, operation).await?;
    tenant.as_object_mut().map(|fields| fields.remove("operation_id"));
    output.record(&tenant, &FIELDS)
}

/// The tenant with this id or slug.
pub(super) async fn find(client: &Client, tenant: &str) -> anyhow::Result<Value> {
    // What is neither would be another path.
    let is_id = tenant.parse::<TenantId>().is_ok();
    ensure!(is_id || Slug::from_stored(tenant).is_ok(), "a tenant is named by its slug or by its id (ten_…)");
    Ok(client.get(&format!("{PATH}/{tenant}"), &[]).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_holds_what_was_given_and_nothing_else() {
        let create = Create {
            slug: "initech".parse().unwrap(),
            name: None,
            plan: Some("bench".to_owned()),
            server: None,
            region: None,
            server_labels: vec![("tier".to_owned(), "gold".to_owned())],
            admin_email: Some("bill@initech.example".parse().unwrap()),
            admin_password_stdin: false,
            no_wait: false,
        };
        let expected = json!({
            "slug": "initech", "name": "initech", "plan": "bench", "admin": { "email": "bill@initech.example" },
            "server_labels": { "tier": "gold" },
        });
        assert_eq!(create.body(None), expected);
        let body = create.body(Some(&SecretString::from("correct horse battery")));
        assert_eq!(body["admin"]["password"], "correct horse battery");
    }
}
