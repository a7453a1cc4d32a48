//! How a connection to a server is made: one TLS configuration, bounded waits, a session that ends with its owner.
//!
//! A [`Connector`] is made once at start and shared. It hands out configurations to the tenants' pools and
//! dedicated [`Connection`]s to administration and migrations. It must never fall back to plain text.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use secrecy::ExposeSecret;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Credentials, ServerAddress, Tls};
use crate::error::{Error, Result};

/// How long a connection may take to be made, TLS and authentication included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long sent data may stay unacknowledged before the connection counts as dead.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);
/// When a silent connection is probed: well before the idle limits of common firewalls (350 s and more).
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;
/// How long a session may take to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Makes connections to servers.
#[derive(Clone)]
pub struct Connector {
    tls: MakeRustlsConnect,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Connector {
    /// Trusts the operating system's certificate authorities and those of `ca_file` (PEM), if given: managed
    /// services sign with authorities of their own.
    ///
    /// # Errors
    /// When the file cannot be read or holds no certificate.
    pub fn new(ca_file: Option<&Path>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        for error in &native.errors {
            tracing::warn!(%error, "a certificate authority of the operating system cannot be read");
        }
        roots.add_parsable_certificates(native.certs);
        if let Some(path) = ca_file {
            add_pem_file(&mut roots, path).map_err(Error::Internal)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Error::internal)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: MakeRustlsConnect::new(config) })
    }

    /// What a session of `credentials` in `database` is made from; `application_name` is how PostgreSQL's own
    /// log and `pg_stat_activity` tell who it is.
    #[must_use]
    pub fn config(
        &self,
        address: &ServerAddress,
        database: &str,
        credentials: &Credentials,
        application_name: &str,
    ) -> Config {
        let mut config = Config::new();
        config
            .host(&address.host)
            .port(address.port)
            .dbname(database)
            .user(&credentials.role)
            .password(credentials.password.expose_secret())
            .application_name(application_name)
            // rustls always checks the chain and the host name: Require is verify-full here.
            .ssl_mode(match address.tls {
                Tls::VerifyFull => SslMode::Require,
                Tls::Disable => SslMode::Disable,
            })
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(TCP_USER_TIMEOUT)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES);
        config
    }

    /// Opens a dedicated session within [`CONNECT_TIMEOUT`].
    ///
    /// # Errors
    /// `tenant_database_unavailable` when the server cannot be reached or is full; `database_missing`; internal when it
    /// refuses the credential.
    pub async fn connect(
        &self,
        address: &ServerAddress,
        database: &str,
        credentials: &Credentials,
        application_name: &str,
    ) -> Result<Connection> {
        let config = self.config(address, database, credentials, application_name);
        Ok(self.open(&config).await??)
    }

    /// As [`connect`](Self::connect), with PostgreSQL's own answer kept apart from the time running out.
    pub(crate) async fn open(&self, config: &Config) -> Result<Result<Connection, tokio_postgres::Error>> {
        let opened = self.session(config).await?;
        Ok(opened.map(|(client, driver)| Connection { client, driver: Driver(driver) }))
    }

    /// As [`open`](Self::open), for a pool, which ends the session's task by itself.
    pub(crate) async fn session(
        &self,
        config: &Config,
    ) -> Result<Result<(Client, JoinHandle<()>), tokio_postgres::Error>> {
        let opening = tokio::time::timeout(CONNECT_TIMEOUT, config.connect(self.tls.clone()));
        let Ok(opened) = opening.await else {
            return Err(super::errors::unavailable(anyhow::anyhow!("no connection within {CONNECT_TIMEOUT:?}")));
        };
        Ok(opened.map(|(client, connection)| (client, tokio::spawn(drive(connection)))))
    }
}

fn add_pem_file(roots: &mut RootCertStore, path: &Path) -> anyhow::Result<()> {
    let file = || format!("the file of certificate authorities {}", path.display());
    let before = roots.len();
    for certificate in CertificateDer::pem_file_iter(path).with_context(file)? {
        roots.add(certificate.with_context(file)?).with_context(file)?;
    }
    anyhow::ensure!(roots.len() > before, "{} holds no certificate", file());
    Ok(())
}

async fn drive(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    if let Err(error) = connection.await {
        // Whoever uses the session gets an error of its own from the next call.
        tracing::debug!(error = Error::from(&error).chain(), "a session has ended");
    }
}

/// The task that moves a session's bytes; it ends with its owner.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A dedicated session. Dropping it closes the socket, and with it frees every lock that the session holds,
/// also when a statement was under way.
pub struct Connection {
    client: Client,
    driver: Driver,
}

impl Connection {
    /// Ends the session in an orderly way and waits (2 s at most) until the goodbye is sent.
    pub async fn close(self) {
        let Self { client, mut driver } = self;
        drop(client);
        if tokio::time::timeout(CLOSE_TIMEOUT, &mut driver.0).await.is_err() {
            tracing::debug!("a session did not end in time and is cut");
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16, tls: Tls) -> ServerAddress {
        ServerAddress { host: "127.0.0.1".into(), port, tls }
    }

    fn credentials() -> Credentials {
        Credentials { role: "somebody".into(), password: "hidden".into() }
    }

    #[test]
    fn verify_full_never_falls_back_to_plain_text() {
        let connector = Connector::new(None).unwrap();
        let mode = |tls| connector.config(&address(5432, tls), "db", &credentials(), "test").get_ssl_mode();
        assert_eq!(mode(Tls::VerifyFull), SslMode::Require);
        assert_eq!(mode(Tls::Disable), SslMode::Disable);
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        assert!(Connector::new(Some(Path::new("/dev/null"))).is_err());
        assert!(Connector::new(Some(Path::new("/nowhere/ca.pem"))).is_err());
    }

    #[tokio::test]
    async fn a_server_that_accepts_and_says_nothing_costs_no_more_than_the_timeout() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = silent.local_addr().unwrap().port();
        let started = tokio::time::Instant::now();
        let connector = Connector::new(None).unwrap();
        let refused =
            connector.connect(&address(port, Tls::Disable), "db", &credentials(), "test").await.expect_err("silent");
        assert_eq!(refused.code(), "tenant_database_unavailable");
        assert!(started.elapsed() < CONNECT_TIMEOUT * 2);
    }
}
