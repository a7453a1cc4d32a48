//! The first operator: the platform server, the platform tenant and an API key, once.
//!
//! The program's migrations are published once the platform server has the template that is made of them. The platform
//! tenant is provisioned like any other, by an engine in the process that runs `bootstrap`. An interrupted bootstrap
//! continues where it stopped. A second bootstrap is refused.

use std::time::Duration;

use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::{
    Context,
    engine::{self, wait},
    fleet::register_server,
    kinds,
    schema::publish,
    tenants::provision,
};
use crate::{
    background::Background,
    control::{audit::Origin, operations, servers, tenants},
    error::{Error, Result},
    identity::api_keys,
    types::{Clock, DisplayName, Email, OperationId, Random, ServerId, Slug},
};

/// How long the platform tenant may take to be made.
const PATIENCE: Duration = Duration::from_mins(2);
/// The plan of the platform tenant: operators are not limited.
const PLAN: &str = "bench";
/// The platform server's sessions in the platform tenant's database.
const CONNECTION_BUDGET: i32 = 40;

/// The first operator.
#[derive(Debug)]
pub struct Request {
    /// The administrative access to the server that shall hold the platform tenant.
    pub server_url: SecretString,
    /// The first operator's address.
    pub email: Email,
    /// Their name.
    pub name: Option<DisplayName>,
    /// Their password.
    pub password: SecretString,
    /// Their API key: a [`new_key`], kept by the caller before it is valid. So a bootstrap that is killed loses none.
    pub api_key: SecretString,
}

/// A key for the first operator.
#[must_use]
pub fn new_key(clock: &Clock, random: Random) -> SecretString {
    api_keys::draw(clock, random)
}

/// Whether `text` is a key that an earlier bootstrap may have kept.
#[must_use]
pub fn is_key(text: &SecretString) -> bool {
    api_keys::is_whole(text)
}

/// Creates the platform tenant and its first operator with the API key of the request.
///
/// # Errors
/// `already_bootstrapped` (409) when there is an operator with another key, and what registering a server and
/// provisioning a tenant can say.
pub async fn run(ctx: &Context, request: Request) -> Result<()> {
    let origin = ctx.origin();
    let (email, key) = (request.email.clone(), request.api_key.clone());
    let platform = tenants::platform(&mut *ctx.db.acquire().await?).await?;
    let (tenant, operation) = if let Some(tenant) = platform {
        let found = operations::provisioning_of(&mut *ctx.db.acquire().await?, tenant.id).await?;
        (tenant.id, found.ok_or_else(|| Error::defect("the platform tenant was never provisioned"))?)
    } else {
        let started = start(ctx, request, &origin).await?;
        (started.tenant.id, started.operation)
    };
    finish(ctx, operation).await?;
    if api_keys::create_first(&ctx.identity, tenant, &email, &key).await? {
        return Ok(());
    }
    Err(Error::conflict("already_bootstrapped", "there is an operator with an API key already"))
}

async fn start(ctx: &Context, request: Request, origin: &Origin) -> Result<provision::Started> {
    let server = platform_server(ctx, request.server_url, origin).await?;
    // Not before the server has a template of them: what does not apply can still be mended.
    publish::publish_embedded(ctx).await?;
    let request = provision::Request {
        slug: Slug::platform(),
        name: "Platform".parse().map_err(Error::internal)?,
        plan: PLAN.to_owned(),
        placement: provision::Placement::Platform(server),
        admin: Some(provision::Admin { email: request.email, name: request.name, password: Some(request.password) }),
    };
    provision::start(ctx, &request, origin, None).await
}

async fn platform_server(ctx: &Context, admin_url: SecretString, origin: &Origin) -> Result<ServerId> {
    let known = servers::list(&mut *ctx.db.acquire().await?).await?;
    if let Some(server) = known.iter().find(|server| server.is_platform) {
        return Ok(server.id);
    }
    let request = register_server::Request {
        name: "platform".to_owned(),
        admin_url,
        region: None,
        labels: serde_json::json!({}),
        connection_budget: CONNECTION_BUDGET,
        capacity: None,
        warm_target: None,
        is_platform: true,
    };
    Ok(register_server::register(ctx, &request, origin, None).await?.server.id)
}

/// Runs the engine until the operation has ended.
async fn finish(ctx: &Context, operation: OperationId) -> Result<()> {
    let background = Background::until(CancellationToken::new());
    engine::spawn(ctx, kinds::ALL, 1, &background);
    let outcome = wait::settled(ctx, operation, PATIENCE).await;
    background.stop().cancel();
    background.ended().await;
    let operation = outcome?;
    if operation.state == operations::OperationState::Succeeded {
        return Ok(());
    }
    Err(Error::defect(format!(
        "the platform tenant is not ready: {}",
        operation.error.unwrap_or_else(|| operation.state.to_string())
    )))
}
