//! E-mail addresses, in the one form that identity compares.

use std::{fmt, str::FromStr};

use unicode_normalization::UnicodeNormalization;

use super::{Invalid, text_value};

/// The longest text that is looked at, in bytes.
const LONGEST: usize = 1_024;

/// An address of at most 254 octets (RFC 5321), in the form that identifies a person and that mail goes to.
///
/// However an address is written, it is brought into this form: compatibility characters become those that they stand
/// for (NFKC), the domain becomes ASCII (IDNA, UTS 46), and all is in lower case. Nothing is taken away: `a.da+x@` and
/// `ada@` are two people, since only the provider knows whether they are one.
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
        if text.len() > LONGEST {
            return Err(invalid());
        }
        let text: String = text.nfkc().collect();
        let (local, domain) = text.rsplit_once('@').ok_or_else(invalid)?;
        let domain = idna::domain_to_ascii(domain).map_err(|_| invalid())?;
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
        let length = local.len() + 1 + domain.len();
        if length > 254 || !local_ok || !domain.contains('.') || !domain.split('.').all(label_ok) {
            return Err(invalid());
        }
        Ok(Self(format!("{}@{domain}", local.to_ascii_lowercase())))
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
    fn one_address_has_one_form_however_it_is_written() {
        for text in
            ["ada@bücher.example", "ADA@BÜCHER.EXAMPLE", "ａｄａ@bu\u{308}cher。example", "ada@xn--bcher-kva.example"]
        {
            let parsed = text.parse::<Email>().map(|email| email.to_string());
            assert_eq!(parsed, Ok("ada@xn--bcher-kva.example".to_owned()), "{text}");
        }
        // The Kelvin sign is a K; a letter that only looks like one is none.
        assert_eq!("\u{212A}im@example.com".parse::<Email>().unwrap().as_str(), "kim@example.com");
        for other in ["\u{43a}im@example.com", "a\u{131}da@example.com", "ada\u{ff20}evil.example@example.com"] {
            assert!(other.parse::<Email>().is_err(), "{other}");
        }
        let two =
            ["a.da@example.com", "ada@example.com", "ada+x@example.com"].map(|text| text.parse::<Email>().unwrap());
        assert!(two[0] != two[1] && two[1] != two[2], "nothing is taken away");
    }

    #[test]
    fn an_address_in_its_form_stays_as_it_is() {
        for text in
            ["Ada@Bücher.Example", "a.b+c@sub.example.co.uk", "x@r3---sn.example.com", "\u{212A}@\u{212A}.example"]
        {
            let once = text.parse::<Email>().unwrap();
            assert_eq!(once.as_str().parse::<Email>().as_ref(), Ok(&once), "{text}");
        }
    }

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
