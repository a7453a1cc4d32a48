//! One stream of files on its way into one database.

use refinery_core::{AsyncMigrate, Migration};
use tokio::time::Instant;
use tokio_postgres::Client;

use super::{
    failure,
    outcome::{AppliedFile, Progress},
    outside::note,
    session::Session,
    transaction::Change,
};
use crate::{
    error::Result,
    migrations::{
        MigrationFile, MigrationSet, Mode,
        history::{self, History},
    },
    types::Stream,
};

/// Where the control database has its tables, and its history.
const CONTROL_SCHEMA: &str = "public";

/// A stream and how far the database has come in it. Only the control database has files of no stream.
pub(super) struct Stage {
    stream: Option<Stream>,
    /// The version that the database had.
    pub(super) version: i32,
    migrations: Vec<Migration>,
}

/// A file that a database lacks.
pub(super) struct Lacking<'a> {
    pub(super) file: &'a MigrationFile,
    pub(super) change: Change<'a>,
    /// What says that it has begun, if it runs outside a transaction.
    pub(super) note: String,
}

impl Stage {
    /// Reads the history, which is made if there is none, and compares it with the set.
    pub(super) async fn read(session: &Session<'_>, set: &MigrationSet, stream: Option<Stream>) -> Result<Self> {
        let mut stage = Self { stream, version: 0, migrations: set.to_refinery()? };
        let history = History::read(session.client, &stage.history(), &stage.migrations).await?;
        stage.version = history.version;
        if !history.exists {
            let create = <Client as AsyncMigrate>::assert_migrations_table_query(&stage.history());
            session.as_owner(&create).await?;
        }
        Ok(stage)
    }

    /// The files that are newer than the history, and what each is run as.
    pub(super) fn lacking<'a>(&'a self, set: &'a MigrationSet) -> impl Iterator<Item = Lacking<'a>> {
        set.files().iter().zip(&self.migrations).filter(|(file, _)| file.version > self.version).map(
            |(file, migration)| Lacking {
                file,
                change: self.change(file, migration),
                note: note(file.version, migration.checksum()),
            },
        )
    }

    fn schema(&self) -> &'static str {
        self.stream.map_or(CONTROL_SCHEMA, Stream::schema)
    }

    fn history(&self) -> String {
        history::table(self.schema())
    }

    /// Applies the files that are newer than the history.
    pub(super) async fn apply(&self, session: &mut Session<'_>, set: &MigrationSet) -> Result<Vec<AppliedFile>> {
        let mut applied = Vec::new();
        for (file, migration) in set.files().iter().zip(&self.migrations) {
            if file.version <= self.version {
                continue;
            }
            let at = self.stream.map(|stream| (stream, file.version));
            session.progress.send_replace(Progress { file: at, ..Progress::default() });
            let started = Instant::now();
            let retries = self.carry_out(session, file, migration).await?;
            if let Some(stream) = self.stream {
                *session.versions.of_mut(stream) = file.version;
            }
            applied.push(AppliedFile::new(self.stream, file.version, started, retries));
        }
        if !applied.is_empty() {
            tracing::info!(
                migrations.schema = self.schema(),
                migrations.from = self.version,
                migrations.to = set.version(),
                "migrations applied"
            );
        }
        Ok(applied)
    }

    async fn carry_out(&self, session: &Session<'_>, file: &MigrationFile, migration: &Migration) -> Result<u32> {
        let change = self.change(file, migration);
        match Mode::of(&file.sql) {
            Ok(Mode::Transaction) => session.carry_out(&change).await,
            Ok(Mode::NoTransaction) => {
                session.carry_out_alone(&change, &note(file.version, migration.checksum())).await
            }
            Ok(Mode::Batched) => session.carry_out_batched(&change).await,
            Err(invalid) => Err(failure::refused(&change.label, invalid.message)),
        }
    }

    /// What undoes the newest version that the history has.
    pub(super) fn undo<'a>(&self, version: i32, label: String, sql: &'a str) -> Change<'a> {
        let record = format!("DELETE FROM {} WHERE version = {version}", self.history());
        Change { label: labelled(self.stream, label), schema: self.schema(), sql, record, history: self.history() }
    }

    fn change<'a>(&self, file: &'a MigrationFile, migration: &Migration) -> Change<'a> {
        // As refinery writes it. The name has been read by `MigrationFile::parse`, or checked by `MigrationSet::new`.
        let record = format!(
            r#"INSERT INTO {} (version, name, applied_on, checksum)
               SELECT {}, '{}', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '{}'"#,
            self.history(),
            file.version,
            file.name,
            migration.checksum()
        );
        let label = labelled(self.stream, file.file_name());
        Change { label, schema: self.schema(), sql: &file.sql, record, history: self.history() }
    }
}

/// What a file is called in sentences.
fn labelled(stream: Option<Stream>, name: String) -> String {
    match stream {
        Some(Stream::Product) => name,
        Some(Stream::Freehold) => format!("Freehold's {name}"),
        None => format!("{name} of the control database"),
    }
}
