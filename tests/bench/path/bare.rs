//! What the data path is held against: axum and deadpool-postgres and nothing else. One database, nobody asks who is
//! there, nothing is counted or logged. Answers what Freehold's example product answers for one project.

use std::io::Write;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use chrono::{DateTime, Utc};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_postgres::NoTls;
use uuid::Uuid;

/// As the example product's.
const GET: &str = "SELECT id, name, description, status, created_by, version, created_at, updated_at
    FROM projects WHERE id = $1";

/// What happens to a session between two users of it.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Recycling {
    /// `RecyclingMethod::Fast`: nothing.
    Fast,
    /// `RecyclingMethod::Clean`: seven statements, awaited by whoever comes next.
    Clean,
}

#[derive(Serialize)]
struct Project {
    id: String,
    name: String,
    description: String,
    status: String,
    created_by: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// Serves on a port of its own, which it prints, until it is ended.
pub(crate) async fn serve(url: &str, pool_size: usize, recycling: Recycling) -> anyhow::Result<()> {
    let recycling_method = match recycling {
        Recycling::Fast => RecyclingMethod::Fast,
        Recycling::Clean => RecyclingMethod::Clean,
    };
    let manager = Manager::from_config(url.parse()?, NoTls, ManagerConfig { recycling_method });
    let pool = Pool::builder(manager).max_size(pool_size).build()?;
    let routes = Router::new().route("/v1/projects/{id}", get(project)).with_state(pool);
    let socket = TcpListener::bind("127.0.0.1:0").await?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", socket.local_addr()?.port())?;
    out.flush()?;
    Ok(axum::serve(socket, routes).await?)
}

async fn project(State(pool): State<Pool>, Path(id): Path<String>) -> Result<Json<Project>, StatusCode> {
    let id = id.strip_prefix("prj_").and_then(|id| Uuid::try_parse(id).ok()).ok_or(StatusCode::NOT_FOUND)?;
    read(&pool, id).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?.map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn read(pool: &Pool, id: Uuid) -> anyhow::Result<Option<Project>> {
    let client = pool.get().await?;
    let statement = client.prepare_cached(GET).await?;
    let Some(row) = client.query_opt(&statement, &[&id]).await? else { return Ok(None) };
    Ok(Some(Project {
        id: format!("prj_{}", row.try_get::<_, Uuid>("id")?.simple()),
        name: row.try_get("name")?,
        description: row.try_get("description")?,
        status: row.try_get("status")?,
        created_by: row.try_get::<_, Option<Uuid>>("created_by")?.map(|id| format!("usr_{}", id.simple())),
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    }))
}
