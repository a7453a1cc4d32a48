//! What a newcomer finds: a tenant server, two tenants, and what the product puts into them. All through the REST API, as
//! anybody else would make them, with idempotency keys that are the same in every run.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    super::{
        client::{Client, Identity},
        operation, server, tenant,
    },
    demo::{DEMO_TENANTS, DemoTenant},
    environment::{Environment, SERVER_NAME},
    memory::Memory,
    settings::Settings,
};
use crate::{app, error::Error};

/// The most connections that replicas may hold to tenants' databases; the cluster has room for more besides.
const CONNECTION_BUDGET: u32 = 80;
const READY: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// What was found or made.
#[derive(Debug)]
pub(super) struct Seed {
    /// The tenant server's id.
    pub(super) server_id: String,
}

/// Makes what is not there yet.
pub(super) async fn run(
    (environment, settings): (&Environment, &Settings),
    memory: &mut Memory,
    api_key: &str,
    seed: Option<app::Seed>,
) -> anyhow::Result<Seed> {
    let key = SecretString::from(api_key);
    let client = Client::new(&settings.admin_url(), &Identity { bearer: Some(&key), host: None })?;
    ready(&client).await?;
    let server_id = register(&client, environment).await?;
    let [first, second] = DEMO_TENANTS.each_ref().map(|demo| provision(&client, demo, memory));
    let (first, second) = tokio::try_join!(first, second)?;
    for (demo, id) in DEMO_TENANTS.iter().zip([first, second]) {
        memory.tenants.get_mut(demo.slug).context("an unknown demo tenant")?.id = Some(id);
    }
    memory.save()?;
    if let Some(seed) = seed {
        for demo in &DEMO_TENANTS {
            fill(settings, demo, memory, seed).await?;
        }
    }
    Ok(Seed { server_id })
}

/// Waits until the replica answers requests.
async fn ready(client: &Client) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY;
    while let Err(error) = client.get("/health/ready", &[]).await {
        if Instant::now() >= deadline {
            return Err(error).context("the replica is not ready");
        }
        sleep(POLL).await;
    }
    Ok(())
}

/// The id of the tenant server, registered if it is not yet.
async fn register(client: &Client, environment: &Environment) -> anyhow::Result<String> {
    if let Some(server) = find_server(client).await? {
        let port = server.get("port").and_then(Value::as_u64);
        ensure!(
            port.is_none_or(|port| port == u64::from(environment.server.port())),
            "another program has taken the port of the tenant server: stop it, or start again with --reset"
        );
        return id(&server);
    }
    let admin_url = environment.server_admin_url()?;
    let body = json!({
        "name": SERVER_NAME, "admin_url": admin_url.expose_secret(), "connection_budget": CONNECTION_BUDGET,
    });
    match client.post(server::PATH, &body, None).await {
        Ok(server) => id(&server),
        // An earlier attempt whose answer was lost.
        Err(error) if error.problem().is_some_and(|problem| problem.code == "server_name_taken") => {
            id(&find_server(client).await?.context("the tenant server is not listed")?)
        }
        Err(error) => Err(error).context("the tenant server cannot be registered"),
    }
}

async fn find_server(client: &Client) -> anyhow::Result<Option<Value>> {
    Ok(client
        .whole(server::PATH)
        .await?
        .into_iter()
        .find(|server| server.get("name").and_then(Value::as_str) == Some(SERVER_NAME)))
}

/// The tenant's id, once it serves.
async fn provision(client: &Client, demo: &DemoTenant, memory: &Memory) -> anyhow::Result<String> {
    let remembered = memory.tenants.get(demo.slug).context("an unknown demo tenant")?;
    if let Some(id) = &remembered.id {
        return Ok(id.clone());
    }
    let admin = json!({ "email": demo.admin_email, "name": demo.admin_name, "password": remembered.admin_password });
    let body = json!({ "slug": demo.slug, "name": demo.name, "server": SERVER_NAME, "admin": admin });
    let key = format!("dev-{}-{}", memory.nonce, demo.slug);
    let made = Client::patiently(true, async || client.post(tenant::PATH, &body, Some(&key)).await).await;
    let made = match made {
        Ok(made) => made,
        Err(error) if error.problem().is_some_and(|problem| problem.code == "slug_taken") => {
            return id(&tenant::find(client, demo.slug).await?);
        }
        Err(error) => return Err(error).with_context(|| format!("the tenant {} cannot be made", demo.slug)),
    };
    if let Some(operation) = made.get("operation_id").and_then(Value::as_str) {
        operation::finished(client, operation, |_| {}).await?;
    }
    id(&made)
}

/// Has the product fill a demo tenant, as its administrator, on the first run.
async fn fill(settings: &Settings, demo: &DemoTenant, memory: &mut Memory, seed: app::Seed) -> anyhow::Result<()> {
    let nonce = memory.nonce.clone();
    let remembered = memory.tenants.get_mut(demo.slug).context("an unknown demo tenant")?;
    if remembered.has_data {
        return Ok(());
    }
    let client = sign_in(settings, demo, &remembered.admin_password).await?;
    // The same requests in the same order are the same attempts, in a later run too.
    let next = AtomicU32::new(0);
    let tenant = app::DemoTenant::new(move |path, body| {
        let (client, key) = (client.clone(), format!("dev-{nonce}-{}", next.fetch_add(1, Ordering::Relaxed)));
        Box::pin(async move { create(&client, &path, &body, &key).await.map_err(Error::Internal) })
    });
    seed(tenant).await.with_context(|| format!("the demo data of {} cannot be made", demo.slug))?;
    remembered.has_data = true;
    memory.save()
}

/// A client that is the tenant's administrator.
async fn sign_in(settings: &Settings, demo: &DemoTenant, password: &str) -> anyhow::Result<Client> {
    let (url, host) = (settings.public_url(), settings.host(demo.slug));
    let anonymous = Client::new(&url, &Identity { bearer: None, host: Some(&host) })?;
    let body = json!({ "email": demo.admin_email, "password": password });
    let login = Client::patiently(true, async || anonymous.post("/v1/auth/login", &body, None).await);
    let tokens = login.await.with_context(|| format!("{} cannot sign in", demo.admin_email))?;
    let Some(token) = tokens.get("access_token").and_then(Value::as_str) else { bail!("a login without a token") };
    Client::new(&url, &Identity { bearer: Some(&SecretString::from(token)), host: Some(&host) })
}

async fn create(client: &Client, path: &str, body: &Value, key: &str) -> anyhow::Result<Value> {
    let made = Client::patiently(true, async || client.post(path, body, Some(key)).await);
    Ok(made.await?)
}

fn id(item: &Value) -> anyhow::Result<String> {
    item.get("id").and_then(Value::as_str).map(str::to_owned).context("an answer without an id")
}
