//! Dumps of one database, and what becomes a database again: `pg_dump` and `pg_restore`, streamed.
//!
//! A dump is of one snapshot, taken while the database is in use: it waits for nobody's rows and lets everybody
//! write. A dump ends in an error unless its program ended well, so half of one never passes for a whole. A restore
//! is one transaction: it is there as a whole or not at all, and it takes all grants from the dump.
//!
//! What is restored must be a dump that Freehold made and that came through unchanged: its definitions are executed,
//! with the rights of the owner of tenant databases in the one database that the login may enter. That is what a
//! migration could do there as well; `psql`, which would follow a script out of the database, is never used.
//!
//! As whom it is dumped and restored is [`TransferLogin`](super::TransferLogin)'s business.

use std::{
    cmp::Reverse,
    fmt, io,
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
    process::ChildStdout,
    time::{Instant, timeout_at},
};
use tokio_util::io::StreamReader;

pub use super::child::refused_object;
use super::{
    Credentials, OWNER_ROLE, ServerAddress, ServerVersion,
    child::Child,
    programs::{Programs, path_folders, usual_folders},
};
use crate::{
    error::{Error, Result},
    types::TableName,
};

/// A whole dump, or the reading of one.
const RUN: Duration = Duration::from_hours(1);
/// A whole restore: of what could be dumped. It builds indexes, and must not be what an archive never comes back from.
const RESTORE: Duration = Duration::from_hours(12);
/// A dump that yields nothing.
const SILENCE: Duration = Duration::from_mins(5);
const PIECE: usize = 64 * 1024;
/// The table of contents of a dump: some hundred bytes an object.
const CONTENTS: u64 = 64 * 1024 * 1024;

const PG_DUMP: &str = "pg_dump";
const PG_RESTORE: &str = "pg_restore";

/// A migration that is at work on a table is waited for as long as this.
const DUMP: [&str; 4] = ["--format=custom", "--encoding=UTF8", "--lock-wait-timeout=10s", "--no-password"];

/// From this release on `pg_restore` sets `transaction_timeout`, which older servers refuse.
const SETS_TRANSACTION_TIMEOUT: i32 = 17;

/// Finds the programs that fit a server.
#[derive(Clone, Debug)]
pub struct DumpTools {
    folder: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

impl DumpTools {
    /// Looks in `folder` alone, if there is one; else in the usual folders and in `PATH`. `ca_file` is what
    /// [`Connector::new`](super::Connector::new) gets.
    #[must_use]
    pub const fn new(folder: Option<PathBuf>, ca_file: Option<PathBuf>) -> Self {
        Self { folder, ca_file }
    }

    /// The programs for a server of this version: of the same major release, else of the nearest newer one.
    ///
    /// # Errors
    /// `dump_tools_missing`, `dump_tools_unfit`; they say what to install.
    pub async fn for_server(&self, server: ServerVersion) -> Result<DumpPrograms> {
        let found = self.installed().await;
        let fitting = found.iter().filter(|programs| fits(programs.major(), server.major()));
        // Reversed, since of equals the last one is taken: Debian's programs in PATH choose a version by themselves.
        match fitting.max_by_key(|programs| Reverse(programs.major())) {
            Some(programs) => Ok(DumpPrograms { programs: programs.clone(), ca_file: self.ca_file.clone() }),
            None => Err(none_fits(&found, server.major())),
        }
    }

    async fn installed(&self) -> Vec<Programs> {
        let folders = match &self.folder {
            Some(folder) => vec![folder.clone()],
            None => path_folders().into_iter().chain(usual_folders()).collect(),
        };
        let looks = folders.iter().map(|folder| Programs::inspect(folder, &[PG_DUMP, PG_RESTORE]));
        futures::future::join_all(looks).await.into_iter().flatten().collect()
    }
}

fn fits(programs: i32, server: i32) -> bool {
    programs == server
        || (programs > server && (server >= SETS_TRANSACTION_TIMEOUT || programs < SETS_TRANSACTION_TIMEOUT))
}

fn none_fits(found: &[Programs], server: i32) -> Error {
    let mend =
        format!("install the client programs of PostgreSQL {server}, or name their folder in FREEHOLD_POSTGRES_BIN");
    if found.is_empty() {
        return Error::conflict("dump_tools_missing", format!("this replica has no pg_dump and pg_restore: {mend}"));
    }
    let majors: Vec<_> = found.iter().map(|programs| programs.major().to_string()).collect();
    let detail = format!("the server runs PostgreSQL {server}, and pg_dump here is of {}: {mend}", majors.join(", "));
    Error::conflict("dump_tools_unfit", detail)
}

/// Which database, and who asks.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The server.
    pub address: &'a ServerAddress,
    /// The database.
    pub database: &'a str,
    /// The transfer login.
    pub credentials: &'a Credentials,
    /// How its session introduces itself.
    pub application_name: &'a str,
}

/// What is dumped of a database: all of it, as it is now, unless something else is said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection<'a> {
    /// The moment, as another session has exported it (`pg_export_snapshot`) and still holds it.
    pub snapshot: Option<&'a str>,
    /// Tables of which the definitions are dumped and no rows.
    pub without_rows: &'a [TableName],
}

impl Selection<'_> {
    fn arguments(&self) -> Vec<String> {
        let snapshot = self.snapshot.map(|snapshot| format!("--snapshot={snapshot}"));
        // Quoted, a name is no pattern.
        let excluded = |table: &TableName| format!("--exclude-table-data=\"{}\".\"{}\"", table.schema, table.name);
        snapshot.into_iter().chain(self.without_rows.iter().map(excluded)).collect()
    }
}

/// Programs that fit one server.
#[derive(Clone, Debug)]
pub struct DumpPrograms {
    programs: Programs,
    ca_file: Option<PathBuf>,
}

impl DumpPrograms {
    /// Their major release, of which a dump is.
    #[must_use]
    pub const fn major(&self) -> i32 {
        self.programs.major()
    }

    /// Dumps the database, as the owner of tenant databases: definitions, rows, grants.
    ///
    /// # Errors
    /// Internal, when the program cannot be started. Its own are the reader's: see [`Dump`].
    pub async fn dump(&self, target: &Target<'_>, selection: &Selection<'_>) -> Result<Dump> {
        let mut chosen = selection.arguments();
        chosen.push(format!("--role={OWNER_ROLE}"));
        let arguments: Vec<_> = DUMP.into_iter().chain(chosen.iter().map(String::as_str)).collect();
        let mut child = self.start(PG_DUMP, &arguments, Some(target)).await?;
        let output = child.output()?;
        let run = Run { child, output, deadline: Instant::now() + RUN };
        let pieces = stream::try_unfold(run, |run| async { run.next().await.map_err(io::Error::other) });
        Ok(Dump(StreamReader::new(pieces.boxed())))
    }

    /// Fills the empty database with the dump that `input` yields, in one transaction, as the owner of tenant
    /// databases. Unless `input` comes to its proper end, nothing is reported as done.
    ///
    /// # Errors
    /// What `input` ended with; `tenant_database_unavailable`, `dump_timeout`; internal when the program failed.
    pub async fn restore(&self, target: &Target<'_>, input: impl AsyncRead + Send + Unpin) -> Result<()> {
        let (database, role) = (format!("--dbname={}", target.database), format!("--role={OWNER_ROLE}"));
        let arguments = [
            database.as_str(),
            role.as_str(),
            "--format=custom",
            "--no-owner",
            "--no-tablespaces",
            "--exit-on-error",
            "--single-transaction",
            "--no-password",
        ];
        let child = self.start(PG_RESTORE, &arguments, Some(target)).await?;
        timeout_at(Instant::now() + RESTORE, fill(child, input)).await.map_err(|_| timeout())?
    }

    /// The dump's table of contents as `pg_restore --list` prints it: a line an object. Reads `input` to its end.
    ///
    /// # Errors
    /// What `input` ended with; `dump_timeout`; internal when it is no dump.
    pub async fn contents(&self, input: impl AsyncRead + Send + Unpin) -> Result<String> {
        let mut child = self.start(PG_RESTORE, &["--list", "--format=custom"], None).await?;
        let (mut output, mut listed) = (child.output()?.take(CONTENTS), String::new());
        let reading = async { output.read_to_string(&mut listed).await.map_err(Error::internal) };
        let both = timeout_at(Instant::now() + RUN, async { tokio::try_join!(fill(child, input), reading) });
        both.await.map_err(|_| timeout())??;
        Ok(listed)
    }

    async fn start(&self, program: &'static str, arguments: &[&str], target: Option<&Target<'_>>) -> Result<Child> {
        let path = self.programs.program(program);
        Child::start((program, path), arguments, target, self.ca_file.as_deref()).await
    }
}

/// A dump under way: a reader that comes to an end only when the whole dump was read and its program ended well.
/// Its errors are ours ([`Error::from_reader`]): `tenant_database_unavailable`, `dump_timeout`, internal. Dropped, it
/// kills its program.
pub struct Dump(StreamReader<BoxStream<'static, io::Result<Bytes>>, Bytes>);

impl AsyncRead for Dump {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl fmt::Debug for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dump").finish_non_exhaustive()
    }
}

struct Run {
    child: Child,
    output: ChildStdout,
    deadline: Instant,
}

impl Run {
    /// The next piece, or the program's verdict at the end.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>> {
        let until = self.deadline.min(Instant::now() + SILENCE);
        let mut piece = BytesMut::with_capacity(PIECE);
        let read = timeout_at(until, self.output.read_buf(&mut piece)).await.map_err(|_| timeout())?;
        if read.map_err(Error::internal)? > 0 {
            return Ok(Some((piece.freeze(), self)));
        }
        timeout_at(until, self.child.finish()).await.map_err(|_| timeout())??;
        Ok(None)
    }
}

async fn fill(mut child: Child, mut input: impl AsyncRead + Send + Unpin) -> Result<()> {
    let mut sink = child.input()?;
    let whole = match pump(&mut input, &mut sink).await {
        Ok(whole) => whole,
        Err(error) => {
            // Before its input ends: half of a dump must not look like a whole one.
            child.kill().await;
            return Err(error);
        }
    };
    drop(sink);
    child.finish().await?;
    if !whole {
        // It needed no more; whether the rest is what was written has to be known all the same.
        tokio::io::copy(&mut input, &mut tokio::io::sink()).await.map_err(Error::from_reader)?;
    }
    Ok(())
}

/// Moves all of `input`, or answers `false` when the program takes no more.
async fn pump(mut input: impl AsyncRead + Unpin, mut sink: impl AsyncWriteExt + Unpin) -> Result<bool> {
    let mut piece = BytesMut::with_capacity(PIECE);
    while input.read_buf(&mut piece).await.map_err(Error::from_reader)? > 0 {
        if sink.write_all(&piece).await.is_err() {
            return Ok(false);
        }
        piece.clear();
    }
    Ok(true)
}

fn timeout() -> Error {
    Error::unavailable("dump_timeout", "dumping or restoring the database took too long", None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_fit_their_own_release_and_newer_ones_where_they_can_restore() {
        for (programs, server, expected) in [
            (15, 15, true),
            (16, 15, true),
            (17, 15, false),
            (18, 16, false),
            (15, 16, false),
            (18, 17, true),
            (18, 18, true),
            (17, 18, false),
        ] {
            assert_eq!(fits(programs, server), expected, "{programs} on {server}");
        }
    }

    #[tokio::test]
    async fn a_folder_without_programs_is_told_with_what_to_install() {
        let tools = DumpTools::new(Some("/nowhere".into()), None);
        let error = tools.for_server(ServerVersion(150_018)).await.unwrap_err();
        assert_eq!(error.code(), "dump_tools_missing");
        assert!(error.to_string().contains("PostgreSQL 15"), "{error}");
    }
}
