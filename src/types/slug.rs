//! A tenant's public name, part of its host.

use std::{fmt, str::FromStr};

use super::{Invalid, text_value};

/// Names that no tenant may take: hosts that a product needs for itself, and words that would mislead.
/// Documented in docs/API.md.
pub const RESERVED_SLUGS: &[&str] = &[
    "account",
    "accounts",
    "admin",
    "administrator",
    "api",
    "app",
    "assets",
    "auth",
    "autoconfig",
    "autodiscover",
    "billing",
    "blog",
    "cdn",
    "console",
    "control",
    "dashboard",
    "demo",
    "dev",
    "docs",
    "freehold",
    "ftp",
    "health",
    "help",
    "imap",
    "internal",
    "localhost",
    "login",
    "mail",
    "metrics",
    "mta-sts",
    "operator",
    "platform",
    "pop",
    "postgres",
    "postmaster",
    "production",
    "root",
    "security",
    "smtp",
    "sso",
    "staging",
    "static",
    "status",
    "support",
    "system",
    "template",
    "tenant",
    "test",
    "webmail",
    "wpad",
    "www",
];

/// 3 to 63 of `a-z 0-9 -` (one DNS label, RFC 1035), beginning with a letter, ending with a letter or digit,
/// without `--` (reserved for internationalised names, RFC 5891) and not in [`RESERVED_SLUGS`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slug(String);

impl Slug {
    /// The slug as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The platform tenant's own slug: reserved, so that no tenant created through the API can hold it.
    #[must_use]
    pub fn platform() -> Self {
        Self("platform".to_owned())
    }

    /// A slug that the control database holds: its shape is checked, but it may be reserved by now.
    pub fn from_stored(text: &str) -> Result<Self, Invalid> {
        shape(text).map(|()| Self(text.to_owned()))
    }
}

fn shape(text: &str) -> Result<(), Invalid> {
    let bytes = text.as_bytes();
    if !(3..=63).contains(&bytes.len()) {
        return Err(Invalid::new("invalid_length", "must be 3 to 63 characters long"));
    }
    if !bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-') {
        return Err(Invalid::new("invalid_format", "may only hold lower-case letters a-z, digits and hyphens"));
    }
    if !bytes[0].is_ascii_lowercase() || bytes[bytes.len() - 1] == b'-' {
        return Err(Invalid::new("invalid_format", "must begin with a letter and end with a letter or digit"));
    }
    if text.contains("--") {
        return Err(Invalid::new("invalid_format", "must not hold two hyphens in a row"));
    }
    Ok(())
}

impl FromStr for Slug {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        shape(text)?;
        if RESERVED_SLUGS.contains(&text) {
            return Err(Invalid::new("reserved", "is reserved; choose another"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_value!(Slug, "^[a-z](?:[a-z0-9]|-(?!-)){1,61}[a-z0-9]$", "acme");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_a_dns_label_hold() {
        for good in ["abc", "acme", "a1-b2", &"a".repeat(63)] {
            assert!(good.parse::<Slug>().is_ok(), "{good}");
        }
        let long = "a".repeat(64);
        for bad in [
            "", "ab", &long, "Acme", "1abc", "-abc", "abc-", "a--b", "a_b", "a.b", "a'b", "a\"b", "münchen", "abc\n",
            "www", "platform", "api",
        ] {
            assert!(bad.parse::<Slug>().is_err(), "{bad}");
        }
    }
}
