//! Notes: the smallest product there is. One table, two endpoints, one permission.

use std::process::ExitCode;

use axum::{extract::State, http::StatusCode};
use freehold::{
    Product,
    error::Result,
    http::{
        AppState, Routes,
        extract::{Json, Listing, Member, SignedIn},
    },
    migrations, permissions,
    tenancy::{Statements, Tenancy},
    typed_id,
    types::DisplayName,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

typed_id!(
    /// A note.
    NoteId = "note"
);

permissions! {
    const PERMISSIONS: Tenant;

    /// Write notes. Everybody who has signed in may read them.
    NotesWrite = "notes:write" for [Admin, Member];
}

/// A note.
#[derive(Serialize, ToSchema)]
struct Note {
    id: NoteId,
    text: String,
}

/// A note to be written.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewNote {
    text: DisplayName,
}

/// Lists the newest notes.
#[utoipa::path(get, path = "/v1/notes", tag = "notes", operation_id = "list_notes",
    responses((status = 200, description = "The newest notes", body = Listing<Note>)))]
async fn list(caller: SignedIn, State(tenancy): State<Tenancy>) -> Result<Json<Listing<Note>>> {
    let conn = tenancy.connect(caller.tenant.id).await?;
    let rows = conn.rows("SELECT id, text FROM notes ORDER BY id DESC LIMIT 50", &[]).await?;
    let mut notes = Vec::with_capacity(rows.len());
    for row in rows {
        notes.push(Note { id: NoteId::from_uuid(row.try_get("id")?), text: row.try_get("text")? });
    }
    Ok(Json(Listing::all(notes)))
}

/// Writes a note.
#[utoipa::path(post, path = "/v1/notes", tag = "notes", operation_id = "create_note", request_body = NewNote,
    responses((status = 201, description = "It is written", body = Note)))]
async fn create(
    caller: Member<NotesWrite>,
    State(state): State<AppState>,
    Json(new): Json<NewNote>,
) -> Result<(StatusCode, Json<Note>)> {
    let note = Note { id: NoteId::generate(&state.clock, state.random), text: new.text.to_string() };
    let conn = state.tenancy.connect(caller.tenant.id).await?;
    let sql = "INSERT INTO notes (id, text, user_id) VALUES ($1, $2, $3)";
    conn.run(sql, &[&note.id.uuid(), &note.text, &caller.principal.user().uuid()]).await?;
    Ok((StatusCode::CREATED, Json(note)))
}

fn main() -> ExitCode {
    freehold::main(Product {
        name: "Notes",
        version: env!("CARGO_PKG_VERSION"),
        routes: Routes::new().routes(routes!(list, create)),
        permissions: PERMISSIONS.to_vec(),
        id_prefixes: vec![NoteId::PREFIX],
        migrations: migrations!("migrations": "V1__notes.sql"),
        // Whoever clones a tenant to try something out gets none of its notes.
        left_behind: vec!["notes"],
        ..Product::default()
    })
}
