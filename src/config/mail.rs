//! Mail: the server that it is sent through, and what its links lead to.

use std::path::PathBuf;

use secrecy::SecretString;

use super::{Environment, source::Reader};
use crate::{
    mail::{Link, Route, Sender, Settings, Smtp, Tls},
    types::Invalid,
};

/// How mail is sent, and what its links lead to.
#[derive(Clone, Debug)]
pub struct MailConfig {
    /// From whom it comes, and where it goes first.
    pub settings: Settings,
    /// What its links are made from.
    pub link: Link,
}

/// What is said of a mail server.
struct Given {
    host: Option<String>,
    port: Option<u16>,
    tls: Tls,
    user: Option<String>,
    password: Option<SecretString>,
    ca_file: Option<PathBuf>,
}

impl MailConfig {
    /// None where neither a mail server nor a folder is named: then nothing is mailed.
    pub(super) fn read(reader: &mut Reader<'_>, environment: Environment) -> Option<Self> {
        let given = Given::read(reader);
        let folder = reader.optional("mail_dir", |text| Ok(PathBuf::from(text)));
        let sender: Option<Sender> = reader.optional("mail_from", str::parse);
        let link = reader.parsed("mail_link", Link::default(), str::parse);
        if folder.is_some() && environment == Environment::Production {
            reader.problem("mail_dir", "is for development: in production name a mail server, FREEHOLD_SMTP_HOST");
        }
        if folder.is_some() && given.host.is_some() {
            reader.problem("mail_dir", "cannot be set together with FREEHOLD_SMTP_HOST");
        }
        let route = match folder {
            Some(folder) => Route::Folder(folder),
            None => Route::Smtp(given.smtp(reader, environment)?),
        };
        if sender.is_none() {
            reader.problem("mail_from", "is required where mail is sent: Acme <no-reply@example.com>");
        }
        Some(Self { settings: Settings { sender: sender?, route }, link })
    }
}

impl Given {
    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            host: reader.optional("smtp_host", parse_host),
            port: reader.optional("smtp_port", |text| {
                let port = text.parse().ok().filter(|port| *port > 0);
                port.ok_or_else(|| Invalid::new("invalid", "must be a port, 1 to 65535"))
            }),
            tls: reader.parsed("smtp_tls", Tls::Implicit, str::parse),
            user: reader.optional("smtp_user", |text| Ok(text.to_owned())),
            password: reader.optional_secret("smtp_password", |_| Ok(())),
            ca_file: reader.optional("smtp_ca_file", |text| {
                let file = PathBuf::from(text);
                if file.is_file() { Ok(file) } else { Err(Invalid::new("invalid", "must be a file")) }
            }),
        }
    }

    /// The server, if one is named and nothing is missing.
    fn smtp(self, reader: &mut Reader<'_>, environment: Environment) -> Option<Smtp> {
        let Self { host, port, tls, user, password, ca_file } = self;
        let host = host?;
        if tls == Tls::Off && environment == Environment::Production {
            reader.problem("smtp_tls", "must be implicit or starttls in production: mails give access");
        }
        let credentials = match (user, password) {
            (Some(user), Some(password)) => Some((user, password)),
            (None, None) => None,
            (Some(_), None) => {
                reader.problem("smtp_password", "is required beside FREEHOLD_SMTP_USER");
                None
            }
            (None, Some(_)) => {
                reader.problem("smtp_user", "is required beside FREEHOLD_SMTP_PASSWORD");
                None
            }
        };
        Some(Smtp { host, port: port.unwrap_or(tls.port()), tls, credentials, ca_file })
    }
}

fn parse_host(text: &str) -> Result<String, Invalid> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b".-:".contains(&b);
    if text.len() <= 253 && text.bytes().all(is_plain) {
        return Ok(text.to_owned());
    }
    Err(Invalid::new("invalid", "must be the name or the address of a host, without a port"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(environment: Environment, pairs: &[(&str, &str)]) -> Result<Option<MailConfig>, Vec<String>> {
        let pairs: BTreeMap<_, _> =
            pairs.iter().map(|(name, value)| (format!("FREEHOLD_{name}"), (*value).to_owned())).collect();
        let mut reader = Reader::new(&pairs, None).unwrap();
        let config = MailConfig::read(&mut reader, environment);
        let keys = |error: super::super::ConfigError| error.0.into_iter().map(|problem| problem.key).collect();
        reader.finish().map(|()| config).map_err(keys)
    }

    const FROM: (&str, &str) = ("MAIL_FROM", "Acme <no-reply@example.com>");
    const HOST: (&str, &str) = ("SMTP_HOST", "smtp.example.com");

    #[test]
    fn a_mail_server_has_the_port_of_its_encryption_unless_said_otherwise() {
        for (pairs, port) in [
            (vec![FROM, HOST], 465),
            (vec![FROM, HOST, ("SMTP_TLS", "starttls")], 587),
            (vec![FROM, HOST, ("SMTP_TLS", "starttls"), ("SMTP_PORT", "2525")], 2_525),
        ] {
            let config = read(Environment::Production, &pairs).unwrap().unwrap();
            let Route::Smtp(smtp) = config.settings.route else { panic!("no mail server") };
            assert_eq!((smtp.host.as_str(), smtp.port), ("smtp.example.com", port));
        }
        assert!(read(Environment::Production, &[]).unwrap().is_none());
        assert!(read(Environment::Production, &[FROM]).unwrap().is_none());
    }

    #[test]
    fn secrets_are_not_shown() {
        let pairs = [FROM, HOST, ("SMTP_USER", "freehold"), ("SMTP_PASSWORD", "hunter2")];
        let config = read(Environment::Production, &pairs).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_unclear_or_weak_is_refused() {
        let production = |pairs: &[(&str, &str)]| read(Environment::Production, pairs).unwrap_err();
        assert_eq!(production(&[HOST]), ["FREEHOLD_MAIL_FROM"]);
        assert_eq!(production(&[FROM, HOST, ("SMTP_TLS", "off")]), ["FREEHOLD_SMTP_TLS"]);
        assert_eq!(production(&[FROM, HOST, ("SMTP_USER", "freehold")]), ["FREEHOLD_SMTP_PASSWORD"]);
        assert_eq!(production(&[FROM, HOST, ("SMTP_PASSWORD", "hunter2")]), ["FREEHOLD_SMTP_USER"]);
        assert_eq!(production(&[FROM, ("MAIL_DIR", "/tmp")]), ["FREEHOLD_MAIL_DIR"]);
        let development = |pairs: &[(&str, &str)]| read(Environment::Development, pairs);
        assert_eq!(development(&[FROM, HOST, ("MAIL_DIR", "/tmp")]).unwrap_err(), ["FREEHOLD_MAIL_DIR"]);
        assert!(matches!(
            development(&[FROM, ("MAIL_DIR", "/tmp")]).unwrap().unwrap().settings.route,
            Route::Folder(folder) if folder == std::path::Path::new("/tmp")
        ));
        assert!(development(&[FROM, HOST, ("SMTP_TLS", "off")]).unwrap().is_some());
        for (name, value) in [
            ("SMTP_HOST", "smtp.example.com/x"),
            ("SMTP_PORT", "0"),
            ("SMTP_TLS", "maybe"),
            ("SMTP_CA_FILE", "/nowhere"),
            ("MAIL_FROM", "nobody"),
            ("MAIL_LINK", "{url}/{action}"),
        ] {
            let errors = development(&[(name, value)]).unwrap_err();
            assert_eq!(errors, [format!("FREEHOLD_{name}")], "{value}");
        }
    }
}
