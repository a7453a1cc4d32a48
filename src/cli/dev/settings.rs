//! The configuration of a dev environment: the settings that its folder decides, over those of the caller.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::DirBuilderExt,
};

use anyhow::{Context, anyhow};
use secrecy::ExposeSecret;
use url::Url;

use super::{Variables, environment::Environment, memory::Memory};
use crate::{app::Sockets, config::Config};

/// Mails that are written rather than sent.
pub(super) const MAIL: &str = "mail";
/// From whom they come.
const SENDER: &str = "Freehold <no-reply@freehold.example>";
/// What stands in for an object store.
const OBJECTS: &str = "objects";

/// What is otherwise than in production unless the caller says more: a playground's tenants come and go, and the
/// name of one that is gone is there to be used again.
const PLAYGROUND: [(&str, &str); 3] = [
    ("FREEHOLD_DELETIONS_PER_HOUR", "1000000"),
    ("FREEHOLD_SLUG_RESERVATION_SECONDS", "0"),
    ("FREEHOLD_MAIL_FROM", SENDER),
];

/// The domain under which tenants have their hosts: browsers and curl resolve names below it without DNS.
pub(super) const BASE_DOMAIN: &str = "localhost";

/// The settings, and where the replica is reached.
#[derive(Debug)]
pub(super) struct Settings {
    /// All `FREEHOLD_*` settings of this replica: `dev.env` holds them for others.
    pub(super) pairs: Variables,
    /// The public listener, as a client on this machine reaches it.
    pub(super) public: SocketAddr,
    /// The admin listener, likewise.
    pub(super) admin: SocketAddr,
}

impl Settings {
    /// Opens the sockets and settles the configuration, which names the ports that they got.
    pub(super) async fn bind(
        environment: &Environment,
        variables: &Variables,
        memory: &Memory,
    ) -> anyhow::Result<(Self, Config, Sockets)> {
        for folder in [MAIL, OBJECTS].map(|name| environment.folder().join(name)) {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            made.with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        let mut pairs = over(variables, decided(environment, memory)?);
        for (name, value) in PLAYGROUND {
            pairs.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        let sockets = Sockets::bind(&Config::load(&pairs, None)?).await.context(
            "choose other addresses with FREEHOLD_PUBLIC_LISTEN and FREEHOLD_ADMIN_LISTEN (127.0.0.1:0 takes any port)",
        )?;
        let (public, admin) = (sockets.public.local_addr()?, sockets.admin.local_addr()?);
        pairs.insert("FREEHOLD_PUBLIC_LISTEN".to_owned(), public.to_string());
        pairs.insert("FREEHOLD_ADMIN_LISTEN".to_owned(), admin.to_string());
        pairs.insert("FREEHOLD_PUBLIC_PORT".to_owned(), public.port().to_string());
        let config = Config::load(&pairs, None)?;
        Ok((Self { pairs, public: reachable(public), admin: reachable(admin) }, config, sockets))
    }

    /// The public listener's address. Tenants' hosts lie on it.
    pub(super) fn public_url(&self) -> String {
        format!("http://{}", self.public)
    }

    /// The admin listener's address.
    pub(super) fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// The host by which a tenant is named.
    pub(super) fn host(&self, slug: &str) -> String {
        format!("{slug}.{BASE_DOMAIN}:{}", self.public.port())
    }
}

/// Where mails are written to.
pub(super) fn mail_dir(environment: &Environment) -> anyhow::Result<std::path::PathBuf> {
    Ok(fs::canonicalize(environment.folder().join(MAIL))?)
}

/// Where archives are kept: a folder's URL.
pub(super) fn objects_url(environment: &Environment) -> anyhow::Result<String> {
    let objects = fs::canonicalize(environment.folder().join(OBJECTS))?;
    let url = Url::from_directory_path(&objects).map_err(|()| anyhow!("{} is no URL", objects.display()))?;
    Ok(url.into())
}

/// What the environment decides.
fn decided(environment: &Environment, memory: &Memory) -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut pairs = vec![
        ("FREEHOLD_ENVIRONMENT", "development".to_owned()),
        ("FREEHOLD_BASE_DOMAIN", BASE_DOMAIN.to_owned()),
        ("FREEHOLD_PUBLIC_SCHEME", "http".to_owned()),
        ("FREEHOLD_PATH_PREFIX", "true".to_owned()),
        ("FREEHOLD_ROLLOUT_ON_START", "true".to_owned()),
        ("FREEHOLD_REPLICA", "dev-1".to_owned()),
        ("FREEHOLD_KEY_ENCRYPTION_KEYS", memory.key_encryption_keys.clone()),
        ("FREEHOLD_ARCHIVE_URL", objects_url(environment)?),
        ("FREEHOLD_MAIL_DIR", mail_dir(environment)?.display().to_string()),
        ("FREEHOLD_CONTROL_URL", environment.control_url()?.expose_secret().to_owned()),
        ("FREEHOLD_PLATFORM_SERVER_URL", environment.platform_admin_url()?.expose_secret().to_owned()),
    ];
    // The clusters' own release, where several are installed.
    if let Some(folder) = &environment.postgres_bin {
        pairs.push(("FREEHOLD_POSTGRES_BIN", folder.display().to_string()));
    }
    if let Some(redis) = &environment.redis {
        pairs.push(("FREEHOLD_REDIS_URL", redis.url()?.expose_secret().to_owned()));
    }
    Ok(pairs)
}

/// The caller's settings, but for those that are decided here. Another server's Redis is never used, nor a mail server.
fn over(variables: &Variables, decided: Vec<(&'static str, String)>) -> Variables {
    let is_decided = |name: &str| {
        let name = name.strip_suffix("_FILE").unwrap_or(name);
        let is_of_others = name == "FREEHOLD_REDIS_URL" || name.starts_with("FREEHOLD_SMTP_");
        is_of_others || decided.iter().any(|(decided, _)| *decided == name)
    };
    let ours = |name: &str| name.starts_with("FREEHOLD_") && !crate::config::CLIENT_NAMES.contains(&name);
    let mut pairs: Variables = variables
        .iter()
        .filter(|(name, _)| ours(name) && !is_decided(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    pairs.extend(decided.into_iter().map(|(name, value)| (name.to_owned(), value)));
    pairs
}

/// The address by which a client on this machine reaches a listener on all addresses.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_decides_over_the_caller_and_leaves_the_rest() {
        let variables = [
            ("FREEHOLD_LOG", "debug"),
            ("FREEHOLD_REPLICA", "mine"),
            ("FREEHOLD_CONTROL_URL_FILE", "/elsewhere"),
            ("FREEHOLD_REDIS_URL", "redis://elsewhere"),
            ("FREEHOLD_SMTP_HOST", "elsewhere"),
            ("FREEHOLD_SMTP_PASSWORD_FILE", "/elsewhere"),
            ("FREEHOLD_API_KEY", "key"),
            ("HOME", "/home/ada"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let decided =
            vec![("FREEHOLD_REPLICA", "dev-1".to_owned()), ("FREEHOLD_CONTROL_URL", "postgres://".to_owned())];
        let expected =
            [("FREEHOLD_CONTROL_URL", "postgres://"), ("FREEHOLD_LOG", "debug"), ("FREEHOLD_REPLICA", "dev-1")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(over(&variables, decided), expected);
    }

    #[test]
    fn a_listener_on_all_addresses_is_reached_on_loopback() {
        assert_eq!(reachable("0.0.0.0:80".parse().unwrap()).to_string(), "127.0.0.1:80");
        assert_eq!(reachable("[::]:80".parse().unwrap()).to_string(), "[::1]:80");
        assert_eq!(reachable("127.0.0.2:80".parse().unwrap()).to_string(), "127.0.0.2:80");
    }
}
