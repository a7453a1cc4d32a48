//! How mail leaves this Freehold.

use std::{fmt, path::PathBuf, str::FromStr};

use secrecy::SecretString;

use crate::types::{DisplayName, Email, Invalid};

/// How mail leaves this Freehold.
#[derive(Clone, Debug)]
pub struct Settings {
    /// From whom it comes.
    pub sender: Sender,
    /// Where it goes first.
    pub route: Route,
}

/// Where mail goes first.
#[derive(Clone, Debug)]
pub enum Route {
    /// To a mail server.
    Smtp(Smtp),
    /// Into a folder, and no further: on a developer's machine.
    Folder(PathBuf),
}

/// A mail server that takes mails for all addresses.
#[derive(Clone, Debug)]
pub struct Smtp {
    /// Its host, which its certificate has to name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is encrypted.
    pub tls: Tls,
    /// The user and the password with which it is used, if it asks for them.
    pub credentials: Option<(String, SecretString)>,
    /// Authorities to trust beside the system's.
    pub ca_file: Option<PathBuf>,
}

/// How the connection to a mail server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// From the first byte on (RFC 8314).
    Implicit,
    /// After `STARTTLS`, without which nothing is sent.
    StartTls,
    /// Not at all.
    Off,
}

impl Tls {
    /// The port that a mail server has for it.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Implicit => 465,
            Self::StartTls => 587,
            Self::Off => 25,
        }
    }

    /// How settings spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Implicit => "implicit",
            Self::StartTls => "starttls",
            Self::Off => "off",
        }
    }
}

impl FromStr for Tls {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let all = [Self::Implicit, Self::StartTls, Self::Off];
        let invalid = || Invalid::new("invalid_format", "must be implicit, starttls or off");
        all.into_iter().find(|tls| tls.as_str() == text).ok_or_else(invalid)
    }
}

/// From whom mails come: `Acme <no-reply@example.com>`, or the address alone.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The name that is shown.
    pub name: Option<DisplayName>,
    /// The address, to which replies and failures go.
    pub address: Email,
}

impl FromStr for Sender {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let Some((name, address)) = text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) else {
            return Ok(Self { name: None, address: text.trim().parse()? });
        };
        let name = Some(name.trim()).filter(|name| !name.is_empty()).map(str::parse).transpose()?;
        Ok(Self { name, address: address.trim().parse()? })
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} <{}>", self.address),
            None => self.address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_an_address_with_a_name_or_without() {
        for (text, name) in [("no-reply@example.com", None), ("Acme, Inc. <no-reply@example.com>", Some("Acme, Inc."))]
        {
            let sender: Sender = text.parse().unwrap();
            assert_eq!(sender.name.as_ref().map(DisplayName::as_str), name);
            assert_eq!(sender.address.as_str(), "no-reply@example.com");
            assert_eq!(sender.to_string(), text);
        }
        for bad in
            ["", "Acme", "Acme <nobody>", "A\nBcc: b@example.com <a@example.com>", "a@example.com, b@example.com"]
        {
            assert!(bad.parse::<Sender>().is_err(), "{bad:?}");
        }
    }
}
