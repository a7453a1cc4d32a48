//! Who takes turns: the bare server, the full path, and the full path with one thing otherwise.

use anyhow::Context;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::{
    bare::Recycling,
    load::Target,
    replica::Program,
    subject::{Subject, connect},
};

/// As many sessions as Freehold holds to one tenant's database unless told otherwise.
const POOL_SIZE: usize = 4;

/// One of those who take turns.
pub(crate) struct Act {
    pub(crate) what: &'static str,
    pub(crate) target: Target,
}

/// Everybody, in the order of their turns. What all is held against is the first, the full path the second.
pub(crate) struct Stage {
    pub(crate) acts: Vec<Act>,
    /// The version of the servers.
    pub(crate) postgres: String,
    _programs: Vec<Program>,
}

/// A row of a tenant, and who may read it.
struct Row {
    host: String,
    token: String,
    path: String,
    database: String,
}

impl Stage {
    pub(crate) async fn set(subject: &Subject) -> anyhow::Result<Self> {
        let (row, tainted) = (Row::make(subject, 0).await?, Row::make(subject, 1).await?);
        let superuser = subject.told("/servers/0/superuser_url")?;
        let (server, _) = superuser.rsplit_once('/').context("no database in the superuser's address")?;
        let database = |row: &Row| format!("{server}/{}", row.database);
        // With a function of this name, nothing is proven of the statement that reads a project.
        let session = connect(&database(&tainted)).await?;
        session.batch_execute("CREATE FUNCTION description(text) RETURNS text LANGUAGE sql AS 'SELECT $1'").await?;
        let postgres = session.query_one("SHOW server_version", &[]).await?.get(0);
        let fast = Program::bare(&database(&row), POOL_SIZE, Recycling::Fast)?;
        let clean = Program::bare(&database(&row), POOL_SIZE, Recycling::Clean)?;
        let silent = Program::replica(subject, &[("FREEHOLD_LOG", "off")]).await?;
        let port = port_of(subject.told("/public_url")?)?;
        let found = |what, port, row: &Row| Act { what, target: row.target(port, &row.path, "HTTP/1.1 200") };
        let ending = |what, path, answer| Act { what, target: row.target(port, path, answer) };
        let acts = vec![
            found("bare axum + deadpool-postgres (RecyclingMethod::Fast)", fast.port, &row),
            found("full path", port, &row),
            found("full path, without log lines and spans", silent.port, &row),
            found("full path, every session reset after use", port, &tainted),
            // What is left when the request ends earlier, from the inside out.
            ending("full path, until the caller is known: an id that is none", "/v1/projects/none", "HTTP/1.1 400"),
            ending("full path, until the tenant is known: no such route", "/v1/nothing", "HTTP/1.1 404"),
            ending("full path, until the outer layers: /health/ping", "/health/ping", "HTTP/1.1 200"),
            found("bare, seven statements before each use (RecyclingMethod::Clean)", clean.port, &row),
        ];
        Ok(Self { acts, postgres, _programs: vec![fast, clean, silent] })
    }
}

impl Row {
    /// A project of a demo tenant, made by its administrator.
    async fn make(subject: &Subject, tenant: usize) -> anyhow::Result<Self> {
        let told = |name: &str| subject.told(&format!("/tenants/{tenant}/{name}"));
        let host = format!("{}.{}", told("slug")?, subject.told("/base_domain")?);
        let url = subject.told("/public_url")?;
        let ask = async |path: &str, token: Option<&str>, body: Value| -> anyhow::Result<Value> {
            let request = subject.http.request(Method::POST, format!("{url}{path}")).header("host", &host).json(&body);
            let request = token.into_iter().fold(request, RequestBuilder::bearer_auth);
            Ok(request.send().await?.error_for_status()?.json().await?)
        };
        let login = json!({ "email": told("admin_email")?, "password": told("admin_password")? });
        let tokens = ask("/v1/auth/login", None, login).await?;
        let token = tokens["access_token"].as_str().context("no token")?.to_owned();
        let project = ask("/v1/projects", Some(&token), json!({ "name": "Read often" })).await?;
        let path = format!("/v1/projects/{}", project["id"].as_str().context("no project")?);
        let database = told("id")?.replacen("ten_", "tenant_", 1);
        Ok(Self { host, token, path, database })
    }

    fn target(&self, port: u16, path: &str, answer: &'static str) -> Target {
        let Self { host, token, .. } = self;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\r\n");
        Target { port, request, answer }
    }
}

fn port_of(url: &str) -> anyhow::Result<u16> {
    url.rsplit_once(':').and_then(|(_, port)| port.trim_end_matches('/').parse().ok()).context("no port in the address")
}
