//! One run of a program of PostgreSQL's, as a child process: its surroundings, its complaints, its end.
//!
//! The child gets an environment of its own: what this process was started with, its secrets included, stays here.
//! The password travels in `PGPASSWORD`, which other users cannot read and which leaves no file behind when this
//! process is killed. Dropping a [`Child`] kills it.
//!
//! What it writes to standard error is kept up to a bound, and of that only the sentences that the program itself
//! begins: PostgreSQL's DETAIL and CONTEXT hold customer data. It goes to the log, never into an answer.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use secrecy::ExposeSecret;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{ChildStdin, ChildStdout, Command},
    task::JoinHandle,
};

use super::{Tls, dump::Target, errors::unavailable, programs::bare_environment};
use crate::{
    error::{Error, Result},
    types::{Random, is_steering},
};

/// How much of what a program says is kept: the first complaint is the one that matters.
const HEARD: usize = 16 * 1024;
/// How much of an object's name is told.
const LONGEST_NAME: usize = 200;
/// How long its last words may take once it has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What is said where the server is away rather than unwilling: by the program, or with a `FATAL:` of PostgreSQL's. The
/// programs speak English, since `LC_ALL` is `C`, and print no SQLSTATE. PostgreSQL's own messages are in the server's
/// `lc_messages`: those in another language count as refusals.
const AWAY: [&str; 10] = [
    "connection to server",
    "server closed the connection unexpectedly",
    "could not receive data from server",
    "could not send data to server",
    "no connection to the server",
    "SSL connection has been closed",
    "SSL SYSCALL error",
    "SSL error",
    "terminating connection",
    "the database system is",
];
/// What is said where the server has too little of something (class 53), or stopped the statement for the sake of
/// another one. [`From<tokio_postgres::Error>`](Error) takes the same for transient, by its SQLSTATE. A function of the
/// product's may say the same.
const BUSY: [&str; 13] = [
    "No space left on device",
    "Disk quota exceeded",
    "wrote only",
    "temporary file size exceeds",
    "out of memory",
    "out of shared memory",
    "Cannot allocate memory",
    "Too many open files",
    "too many clients already",
    "too many connections for",
    "canceling statement due to",
    "deadlock detected",
    "could not serialize access",
];
/// Settings of its sessions: a backend whose client is gone notices within a second, also in a long statement, and
/// names are looked up nowhere but where they say. Both programs lift all time limits of the session themselves.
const OPTIONS: &str = "-c client_connection_check_interval=1s -c search_path=pg_catalog";
const CONNECT_SECONDS: &str = "2";

/// A running program.
pub(super) struct Child {
    process: tokio::process::Child,
    program: &'static str,
    said: JoinHandle<Vec<u8>>,
    // For as long as it runs.
    _authorities: Option<Authorities>,
}

impl Child {
    /// Starts `program` with `arguments`; on `target`, if it needs a server.
    pub(super) async fn start(
        program: (&'static str, PathBuf),
        arguments: &[&str],
        target: Option<&Target<'_>>,
        ca_file: Option<&Path>,
    ) -> Result<Self> {
        let authorities = match target.map(|target| target.address.tls) {
            Some(Tls::VerifyFull) => Some(Authorities::gather(ca_file.map(Path::to_owned)).await?),
            Some(Tls::Disable) | None => None,
        };
        let (program, path) = program;
        let mut command = command(&path);
        if let Some(target) = target {
            lead(&mut command, target, authorities.as_ref());
        }
        let mut process = command.args(arguments).spawn().map_err(Error::internal)?;
        let said =
            process.stderr.take().map_or_else(|| tokio::spawn(async { Vec::new() }), |said| tokio::spawn(hear(said)));
        Ok(Self { process, program, said, _authorities: authorities })
    }

    /// What it writes.
    pub(super) fn output(&mut self) -> Result<ChildStdout> {
        self.process.stdout.take().ok_or_else(|| Error::defect("a child's output was taken twice"))
    }

    /// What it reads.
    pub(super) fn input(&mut self) -> Result<ChildStdin> {
        self.process.stdin.take().ok_or_else(|| Error::defect("a child's input was taken twice"))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// `tenant_database_unavailable` when it lost the server, or the server was short of something; internal when it
    /// failed for another reason.
    pub(super) async fn finish(mut self) -> Result<()> {
        let status = self.process.wait().await.map_err(Error::internal)?;
        let said = tokio::time::timeout(LAST_WORDS, &mut self.said).await;
        let said = said.ok().and_then(Result::ok).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        judge(self.program, status, &said)
    }

    /// Ends it at once.
    pub(super) async fn kill(mut self) {
        if let Err(error) = self.process.kill().await {
            tracing::warn!(program = self.program, %error, "a child process cannot be killed");
        }
    }
}

fn command(path: &Path) -> Command {
    let mut command = Command::new(path);
    bare_environment(&mut command);
    // A Ctrl-C in the terminal is for this process, which decides what becomes of its children.
    command.process_group(0).kill_on_drop(true);
    command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Says where the server is and who asks.
fn lead(command: &mut Command, target: &Target<'_>, authorities: Option<&Authorities>) {
    command
        .env("PGHOST", &target.address.host)
        .env("PGPORT", target.address.port.to_string())
        .env("PGUSER", &target.credentials.role)
        .env("PGPASSWORD", target.credentials.password.expose_secret())
        .env("PGDATABASE", target.database)
        .env("PGAPPNAME", target.application_name)
        .env("PGCONNECT_TIMEOUT", CONNECT_SECONDS)
        .env("PGOPTIONS", OPTIONS)
        .env("PGGSSENCMODE", "disable")
        .env("PGSSLMODE", target.address.tls.to_string())
        .envs(authorities.map(|file| ("PGSSLROOTCERT", &file.0)));
}

/// Listens to the end, so that the program is never blocked, and keeps the beginning.
async fn hear(mut said: impl AsyncRead + Unpin) -> Vec<u8> {
    let (mut heard, mut rest) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = said.read(&mut rest).await {
        let room = HEARD.saturating_sub(heard.len());
        heard.extend_from_slice(&rest[..length.min(room)]);
    }
    heard
}

/// The first lines of errors and warnings, without what PostgreSQL adds to them.
fn complaints(program: &str, said: &str) -> String {
    let is_complaint = |line: &&str| {
        let rest = line.strip_prefix(program).and_then(|rest| rest.strip_prefix(": "));
        rest.is_some_and(|rest| rest.starts_with("error:") || rest.starts_with("warning:"))
    };
    said.lines().filter(is_complaint).collect::<Vec<_>>().join("; ")
}

/// The object that a restore was at when it failed: `TABLE DATA said`, or the beginning of the command up to its first
/// name, `CREATE EXTENSION pg_stat_statements`. Those are words out of the catalogue; what follows may hold values.
fn stopped_at(program: &str, said: &str) -> Option<String> {
    let begin = format!("{program}: error: ");
    let mut lines = said.lines().skip_while(|line| !line.starts_with(&begin));
    let error = lines.next()?;
    let object = match error.split_once("COPY failed for table \"") {
        Some((_, table)) => format!("TABLE DATA {}", table.split_once('"')?.0),
        None => beginning(lines.find_map(|line| line.strip_prefix("Command was: "))?),
    };
    Some(object.chars().filter(|c| !is_steering(*c)).take(LONGEST_NAME).collect())
}

/// A command's keywords up to its first name, and that name. Of a grant, what it is on: its rights may name columns.
fn beginning(command: &str) -> String {
    if let Some((grant, on)) = command.split_once(" ON ")
        && let Some(verb @ ("GRANT" | "REVOKE")) = grant.split_whitespace().next()
    {
        return format!("{verb} ON {}", beginning(on));
    }
    let is_keyword = |word: &&str| word.chars().all(|c| c.is_ascii_uppercase());
    let noise = ["IF", "NOT", "EXISTS", "ONLY"];
    let keywords = command.split_whitespace().take_while(is_keyword).filter(|word| !noise.contains(word));
    let name = command.split_whitespace().find(|word| !is_keyword(word)).unwrap_or_default();
    let name = name.split(['(', ';', '\'']).next().unwrap_or_default();
    keywords.chain([name]).collect::<Vec<_>>().join(" ")
}

/// What a program failed with.
#[derive(Debug, thiserror::Error)]
#[error("{program} ended with {status}: {complaints}")]
struct Failure {
    program: &'static str,
    status: ExitStatus,
    complaints: String,
    stopped_at: Option<String>,
}

/// The object that a restore failed at, where it was PostgreSQL that refused it. For people who may see names of tables,
/// and no rows.
#[must_use]
pub fn refused_object(error: &Error) -> Option<&str> {
    let Error::Internal(cause) = error else { return None };
    cause.downcast_ref::<Failure>().filter(|failure| failure.status.code().is_some())?.stopped_at.as_deref()
}

fn judge(program: &'static str, status: ExitStatus, said: &str) -> Result<()> {
    let complaints = complaints(program, said);
    if status.success() {
        if !complaints.is_empty() {
            tracing::warn!(program, complaints, "a program of postgresql's did its work and complains");
        }
        return Ok(());
    }
    let cause = anyhow::Error::new(Failure { program, status, complaints, stopped_at: stopped_at(program, said) });
    if is_passing(program, said) { Err(unavailable(cause)) } else { Err(Error::Internal(cause)) }
}

/// Whether an error lies with the server, which may be well again later. What a function of the product's has raised, or
/// what stands in quotes, says nothing about the server.
fn is_passing(program: &str, said: &str) -> bool {
    let error = format!("{program}: error: ");
    let of_server = format!("{program}: detail: Error message from server: ");
    let begins = format!("{program}: ");
    let mut lines = said.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(told) = line.strip_prefix(&error).or_else(|| line.strip_prefix(&of_server)) else { continue };
        let (told, mut is_raised) = (unquoted(told), false);
        while let Some(more) = lines.next_if(|more| !more.starts_with(&begins)) {
            is_raised |= more.ends_with(" at RAISE");
        }
        let by_program = told.split("ERROR:").next().unwrap_or_default();
        let is_away = AWAY.iter().any(|words| by_program.contains(words));
        if is_away || !is_raised && BUSY.iter().any(|words| told.contains(words)) {
            return true;
        }
    }
    false
}

/// What stands outside of double quotes: names of objects and files, and values.
fn unquoted(line: &str) -> String {
    line.split('"').step_by(2).collect()
}

/// A file with the authorities that [`super::Connector`] trusts too, for libpq: the operating system's and those of
/// the configured file. Removed when dropped; there is nothing secret in it.
struct Authorities(PathBuf);

impl Authorities {
    async fn gather(ca_file: Option<PathBuf>) -> Result<Self> {
        let gathered = tokio::task::spawn_blocking(move || Self::write(ca_file.as_deref())).await;
        gathered.map_err(Error::internal)?.map_err(Error::internal)
    }

    fn write(ca_file: Option<&Path>) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("freehold-authorities-{}.pem", Random.token()));
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let authorities = Self(path);
        for certificate in rustls_native_certs::load_native_certs().certs {
            file.write_all(pem(&certificate).as_bytes())?;
        }
        if let Some(path) = ca_file {
            file.write_all(&fs::read(path)?)?;
        }
        Ok(authorities)
    }
}

impl Drop for Authorities {
    fn drop(&mut self) {
        // It holds public certificates: one that stays is litter and no more.
        let _ = fs::remove_file(&self.0);
    }
}

/// RFC 7468: lines of 64 characters, and no empty one, which OpenSSL refuses.
fn pem(certificate: &[u8]) -> String {
    let encoded = BASE64_STANDARD.encode(certificate);
    let body: String = encoded.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line) + "\n").collect();
    format!("-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use rustls::pki_types::{CertificateDer, pem::PemObject};

    use super::*;

    #[test]
    fn of_what_a_program_says_only_its_own_sentences_are_kept() {
        let said = "pg_restore: error: could not execute query: ERROR:  duplicate key value\n\
                    DETAIL:  Key (email)=(ada@example.com) already exists.\nCommand was: COPY users\n\
                    pg_restore: detail: Query was: SELECT 'ada@example.com'\npg_dump: error: ada@example.com\n";
        let kept = complaints("pg_restore", said);
        assert_eq!(kept, "pg_restore: error: could not execute query: ERROR:  duplicate key value");
    }

    #[test]
    fn a_refused_restore_names_the_object_and_none_of_its_rows() {
        let said = "pg_restore: error: COPY failed for table \"said\": ERROR:  relation \"words\" does not exist\n\
                    CONTEXT:  COPY said, line 1, column x: \"ada@example.com\"\n";
        assert_eq!(stopped_at("pg_restore", said).unwrap(), "TABLE DATA said");
        let refused = |command: &str| {
            let said = format!(
                "pg_restore: error: could not execute query: ERROR:  no\nHINT:  none\nCommand was: {command}\n"
            );
            stopped_at("pg_restore", &said).unwrap()
        };
        let extension = "CREATE EXTENSION IF NOT EXISTS pg_stat_statements WITH SCHEMA public;";
        assert_eq!(refused(extension), "CREATE EXTENSION pg_stat_statements");
        assert_eq!(refused("COMMENT ON TABLE public.t IS 'ada@example.com';"), "COMMENT ON TABLE public.t");
        assert_eq!(refused("CREATE FUNCTION public.f(x text) RETURNS text"), "CREATE FUNCTION public.f");
        let grant = "GRANT SELECT(id),UPDATE ON TABLE public.t TO gone;";
        assert_eq!(refused(grant), "GRANT ON TABLE public.t");
        assert_eq!(refused("SELECT pg_catalog.lo_create('4711');"), "SELECT pg_catalog.lo_create");
        assert_eq!(stopped_at("pg_restore", "pg_restore: error: connection to server"), None);
        let said = "pg_restore: error: could not execute query: ERROR:  no\nCommand was: CREATE TABLE t (";
        let failed = |status| judge("pg_restore", ExitStatus::from_raw(status), said);
        assert_eq!(refused_object(&failed(256).unwrap_err()), Some("CREATE TABLE t"));
        assert_eq!(refused_object(&failed(9).unwrap_err()), None, "it was killed");
    }

    #[test]
    fn only_a_server_that_is_away_is_worth_another_try() {
        let failed = ExitStatus::from_raw(256);
        let away = "pg_dump: error: connection to server at \"127.0.0.1\", port 1 failed: Connection refused";
        assert!(judge("pg_dump", failed, away).unwrap_err().is_transient());
        assert!(!judge("pg_dump", failed, "pg_dump: error: permission denied").unwrap_err().is_transient());
        let lost = "pg_dump: error: Dumping the contents of table \"t\" failed: PQgetCopyData() failed.\n\
                    pg_dump: detail: Error message from server: server closed the connection unexpectedly\n";
        assert!(judge("pg_dump", failed, lost).unwrap_err().is_transient());
        let ended =
            "pg_restore: error: could not execute query: FATAL:  terminating connection due to administrator command\n";
        assert!(judge("pg_restore", failed, ended).unwrap_err().is_transient());
        for says in [
            "could not extend file \"base/16384/16391\": No space left on device",
            "could not extend file \"base/16384/16391\": wrote only 4096 of 8192 bytes at block 7",
            "could not write to file \"base/pgsql_tmp/pgsql_tmp12.0\": Disk quota exceeded",
            "temporary file size exceeds temp_file_limit (1024kB)",
            "out of memory",
            "out of shared memory",
            "sorry, too many clients already",
            "too many connections for role \"freehold_restore_x\"",
            "canceling statement due to user request",
            "deadlock detected",
        ] {
            for at in ["COPY failed for table \"t\"", "could not execute query"] {
                let said = format!(
                    "pg_restore: error: {at}: ERROR:  {says}\nHINT:  Check free disk space.\n\
                     Command was: CREATE INDEX i ON public.t USING btree (x);\n"
                );
                assert!(stopped_at("pg_restore", &said).is_some(), "{said}");
                let error = judge("pg_restore", failed, &said).unwrap_err();
                assert_eq!((error.code(), refused_object(&error)), ("tenant_database_unavailable", None), "{said}");
            }
        }
        assert!(judge("pg_dump", ExitStatus::from_raw(9), "").is_err());
        assert!(judge("pg_dump", ExitStatus::from_raw(0), "pg_dump: warning: circular").is_ok());
    }

    #[test]
    fn what_a_product_says_is_no_word_about_the_server() {
        let failed = ExitStatus::from_raw(256);
        for says in ["connection to server at the bank lost", "out of memory", "terminating connection"] {
            let said = format!(
                "pg_restore: error: COPY failed for table \"out of memory\": ERROR:  {says}\n\
                 CONTEXT:  PL/pgSQL function public.is_fine(integer) line 1 at RAISE\nCOPY t, line 1: \"1\"\n"
            );
            assert_eq!(judge("pg_restore", failed, &said).unwrap_err().code(), "internal", "{says}");
        }
        let quoted = "pg_restore: error: COPY failed for table \"t\": ERROR:  invalid input syntax for type integer: \
                      \"deadlock detected\"\nCONTEXT:  COPY t, line 1\n";
        assert_eq!(judge("pg_restore", failed, quoted).unwrap_err().code(), "internal");
        // One of the server's after one of the product's.
        let both = "pg_restore: error: could not execute query: ERROR:  no\nCONTEXT:  PL/pgSQL function f() line 1 at RAISE\n\
                    pg_restore: error: could not execute query: ERROR:  out of memory\n";
        assert!(judge("pg_restore", failed, both).unwrap_err().is_transient());
    }

    #[tokio::test]
    async fn a_long_complaint_is_heard_to_its_end_and_kept_to_a_bound() {
        let said = vec![b'x'; 5 * HEARD];
        assert_eq!(hear(said.as_slice()).await.len(), HEARD);
    }

    #[test]
    fn certificates_survive_the_file() {
        for length in [1, 48, 49, 1000] {
            let certificate = vec![7; length];
            let read = CertificateDer::from_pem_slice(pem(&certificate).as_bytes()).unwrap();
            assert_eq!(read.as_ref(), certificate, "{length}");
            assert!(!pem(&certificate).contains("\n\n"), "{length}");
        }
    }

    #[tokio::test]
    async fn the_file_of_authorities_ends_with_its_owner() {
        let ca = std::env::temp_dir().join(format!("freehold-ca-{}", Random.token()));
        fs::write(&ca, pem(b"ours")).unwrap();
        let authorities = Authorities::gather(Some(ca.clone())).await.unwrap();
        let path = authorities.0.clone();
        assert!(fs::read_to_string(&path).unwrap().ends_with(&pem(b"ours")));
        drop(authorities);
        assert!(!path.exists());
        fs::remove_file(ca).unwrap();
    }
}
