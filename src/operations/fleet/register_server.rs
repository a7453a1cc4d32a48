//! Registers a server. A server that is not fit for Freehold is refused, with the reason and the remedy.

use secrecy::SecretString;

use super::preflight;
use crate::{
    control::{
        audit::{self, Origin},
        data_keys, idempotency,
        secrets::{self, Purpose},
        servers::{self, Server},
    },
    error::{Error, FieldError, Result},
    operations::{
        Context,
        schema::{publish, template},
    },
    servers::{AdminUrl, Finding, ServerAdmin, ServerVersion, Tls},
    types::{AuditEventId, Idempotency, ServerId},
};

/// How many of its tenants a rollout migrates at a time, until an operator says otherwise: the table's own default.
const ROLLOUT_CONCURRENCY: i32 = 8;

/// What an operator registers.
#[derive(Debug)]
pub struct Request {
    /// Unique name.
    pub name: String,
    /// The URL of the administrative role, which has CREATEDB and CREATEROLE and is no superuser.
    pub admin_url: SecretString,
    /// Its region.
    pub region: Option<String>,
    /// Its labels: an object whose values are strings.
    pub labels: serde_json::Value,
    /// The most sessions that all replicas together may have in its tenant databases.
    pub connection_budget: i32,
    /// The most tenants that it takes; `None` is no limit.
    pub capacity: Option<i32>,
    /// How many warm databases are kept ready; `None` follows demand.
    pub warm_target: Option<i32>,
    /// Whether it holds the platform tenant and nothing else.
    pub is_platform: bool,
}

/// A registered server, and what an operator should know about it.
#[derive(Debug)]
pub struct Registered {
    /// The server.
    pub server: Server,
    /// Problems that do not prevent its use.
    pub warnings: Vec<Finding>,
}

/// Checks that the server can be reached and that the role has the rights. Creates the shared roles and the template
/// database. Records the server with its encrypted password.
///
/// # Errors
/// `invalid_format` on `name`; on `admin_url`: `invalid_url`, `unsupported_sslmode` and those of
/// [`ServerAdmin::first_contact`]; `server_name_taken`, `server_registered` (409).
pub async fn register(
    ctx: &Context,
    request: &Request,
    origin: &Origin,
    idempotency: Option<&Idempotency>,
) -> Result<Registered> {
    if let Some(known) = find(ctx, idempotency).await? {
        return Ok(known);
    }
    match make(ctx, request, origin, idempotency).await {
        // An earlier request with the same key may have registered it just now.
        Err(error) if matches!(error.code(), "server_name_taken" | "server_registered") => {
            find(ctx, idempotency).await?.ok_or(error)
        }
        outcome => outcome,
    }
}

async fn make(
    ctx: &Context,
    request: &Request,
    origin: &Origin,
    idempotency: Option<&Idempotency>,
) -> Result<Registered> {
    servers::check_name(&request.name)?;
    let url = AdminUrl::parse(&request.admin_url).map_err(|invalid| FieldError::invalid("admin_url", invalid))?;
    if url.address.tls == Tls::Disable && !ctx.plaintext {
        let message = "must not disable TLS in production: use sslmode=verify-full";
        return Err(FieldError::new("admin_url", "plaintext_refused", message).into());
    }
    refuse_taken(ctx, request, &url).await?;
    let Prepared { version, system_identifier, warnings } = prepare(ctx, &url, request).await?;
    let server = new_server(ctx, request, &url, version);
    record(ctx, (&server, system_identifier), &url.credentials.password, origin, idempotency).await?;
    tracing::info!(server.id = %server.id, server.version = %version, "registered a server");
    Ok(Registered { server, warnings })
}

/// Refuses a name or an address that is taken, before anything is changed on the server. In a race the constraints of
/// the table refuse it later.
async fn refuse_taken(ctx: &Context, request: &Request, url: &AdminUrl) -> Result<()> {
    let servers = servers::list(&mut *ctx.db.acquire().await?).await?;
    if servers.iter().any(|server| server.name == request.name) {
        return Err(Error::conflict("server_name_taken", "another server has this name"));
    }
    let same = |server: &&Server| {
        server.host == url.address.host && server.port == url.address.port && server.is_platform == request.is_platform
    };
    if servers.iter().any(|server| same(&server)) {
        return Err(Error::conflict("server_registered", "a server at this address is registered already"));
    }
    Ok(())
}

/// The result of the checks and of the preparation of a server, before it is recorded.
struct Prepared {
    version: ServerVersion,
    system_identifier: i64,
    warnings: Vec<Finding>,
}

async fn prepare(ctx: &Context, url: &AdminUrl, request: &Request) -> Result<Prepared> {
    let demands = preflight::demands(ctx, request.connection_budget).await?;
    let name = ctx.session_name("register");
    let (admin, mut warnings) = ServerAdmin::first_contact(&ctx.connector, url, &name, demands).await?;
    warnings.extend(admin.ensure_roles().await?.iter().map(|name| Finding::open_to_public(name)));
    // The first server is where the program's migrations are tried, before they are published.
    let schema = if request.is_platform { publish::upcoming(ctx).await? } else { publish::current(&ctx.db).await? };
    template::ensure(ctx, &admin, &url.address, &url.credentials, &schema).await?;
    let system_identifier = admin.system_identifier().await?;
    Ok(Prepared { version: admin.version(), system_identifier, warnings })
}

/// The server that an earlier request with this key has registered.
async fn find(ctx: &Context, idempotency: Option<&Idempotency>) -> Result<Option<Registered>> {
    let Some(idempotency) = idempotency else { return Ok(None) };
    let mut connection = ctx.db.acquire().await?;
    let server = match idempotency::find(&mut connection, &ctx.keys, idempotency).await? {
        Some(id) => servers::get(&mut connection, ServerId::from_uuid(id)).await?,
        None => None,
    };
    Ok(server.map(|server| Registered { server, warnings: Vec::new() }))
}

fn new_server(ctx: &Context, request: &Request, url: &AdminUrl, version: ServerVersion) -> Server {
    Server {
        id: ServerId::generate(&ctx.clock, ctx.random),
        name: request.name.clone(),
        is_platform: request.is_platform,
        host: url.address.host.clone(),
        port: url.address.port,
        admin_role: url.credentials.role.clone(),
        maintenance_db: url.database.clone(),
        tls: url.address.tls.to_string(),
        region: request.region.clone(),
        labels: request.labels.clone(),
        connection_budget: request.connection_budget,
        cordoned: false,
        capacity: request.capacity,
        warm_target: request.warm_target,
        rollout_concurrency: ROLLOUT_CONCURRENCY,
        tenants: 0,
        version_num: version.0,
        revision: 1,
        created_at: ctx.clock.now(),
    }
}

async fn record(
    ctx: &Context,
    (server, system_identifier): (&Server, i64),
    password: &SecretString,
    origin: &Origin,
    idempotency: Option<&Idempotency>,
) -> Result<()> {
    let id = server.id.uuid();
    let mut txn = ctx.db.begin().await?;
    servers::insert_in_txn(&mut txn, server, system_identifier).await?;
    if let Some(idempotency) = idempotency {
        // A concurrent request with the same key fails at the unique name of the server before it gets here.
        idempotency::claim_in_txn(&mut txn, &ctx.keys, idempotency, id).await?;
    }
    let key = data_keys::create_in_txn(&mut txn, &ctx.keys, id, ctx.random).await?;
    secrets::put(&mut txn, &key, id, Purpose::ServerAdminPassword, password).await?;
    let event = AuditEventId::generate(&ctx.clock, ctx.random);
    let details = serde_json::json!({ "name": server.name, "host": server.host, "port": server.port });
    audit::record_in_txn(&mut txn, event, origin, ("server.register", &server.id.to_string()), &details).await?;
    Ok(txn.commit().await?)
}
