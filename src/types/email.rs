//! E-mail addresses, in the one form that identity compares.

use std::{fmt, str::FromStr};

use super::{Invalid, text_value};

/// An address of at most 254 octets (RFC 5321), in lower case: addresses that differ only in case are one person.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Email(String);

impl Email {
    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Email {
    type Err = Invalid;

    /// Accepts what the HTML standard accepts (`<input type=email>`) with at least one dot in the domain or
    /// `localhost`-like single labels refused; quoted local parts and address literals are refused.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new("invalid_email", "must be an e-mail address such as ada@example.com");
        let (local, domain) = text.rsplit_once('@').ok_or_else(invalid)?;
        let local_ok = (1..=64).contains(&local.len())
            && !local.starts_with('.')
            && !local.ends_with('.')
            && !local.contains("..")
            && local.bytes().all(|b| b.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&b));
        let label_ok = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if text.len() > 254 || !local_ok || !domain.contains('.') || !domain.split('.').all(label_ok) {
            return Err(invalid());
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Email {
    /// Addresses are personal data: they never reach a log by way of `Debug`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email([redacted])")
    }
}

text_value!(Email, r"^[^@\s]+@[^@\s]+\.[^@\s]+$", "ada@example.com");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_and_lowered() {
        assert_eq!("Ada@Example.COM".parse::<Email>().map(|e| e.to_string()), Ok("ada@example.com".to_owned()));
        for bad in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "ada@localhost",
            "a b@example.com",
            "ada@ex_ample.com",
            "a..b@example.com",
            "ada@example.com\n",
        ] {
            assert!(bad.parse::<Email>().is_err(), "{bad:?}");
        }
    }
}
