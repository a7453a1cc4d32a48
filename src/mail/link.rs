//! The links in mails: they lead to a page of the product's, which speaks to the API.

use std::str::FromStr;

use crate::types::{Invalid, Slug};

/// The page that a link leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Where an invitation is accepted.
    AcceptInvitation,
    /// Where an address is proven.
    VerifyEmail,
    /// Where another password is chosen.
    ResetPassword,
    /// Where an account gets another address.
    ConfirmEmail,
    /// Where an account gets its former address back.
    UndoEmail,
    /// Where somebody says that it was not them.
    NotMe,
}

impl Action {
    /// How links spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AcceptInvitation => "accept-invitation",
            Self::VerifyEmail => "verify-email",
            Self::ResetPassword => "reset-password",
            Self::ConfirmEmail => "confirm-email",
            Self::UndoEmail => "undo-email",
            Self::NotMe => "not-me",
        }
    }
}

/// What links are made from: `{url}`, the tenant's public address, `{slug}`, `{action}` and `{token}` stand for what is
/// in their place in a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link(String);

impl Link {
    /// The link of a tenant for an action. The token is of characters that no URL changes.
    #[must_use]
    pub fn to(&self, (url, slug): (&str, &Slug), action: Action, token: &str) -> String {
        let text = self.0.replace("{url}", url).replace("{slug}", slug.as_str());
        text.replace("{action}", action.as_str()).replace("{token}", token)
    }

    /// As settings spell it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Link {
    /// The token is in the fragment, which browsers send to no server: it is in no log of one, and in no `Referer`.
    fn default() -> Self {
        Self("{url}/account/{action}#token={token}".to_owned())
    }
}

impl FromStr for Link {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bare = ["{url}", "{slug}", "{action}", "{token}"]
            .iter()
            .fold(text.to_owned(), |text, name| text.replace(name, ""));
        let begins = text.starts_with("{url}/") || text.starts_with("https://") || text.starts_with("http://");
        let names_all = text.contains("{action}") && text.contains("{token}");
        let is_plain = bare.bytes().all(|b| b.is_ascii_graphic() && !b"{}<>\"'`\\".contains(&b));
        if begins && names_all && is_plain {
            return Ok(Self(text.to_owned()));
        }
        let rule = "must begin with {url}/ or https://, and hold {action} and {token}; {slug} may stand in it as well";
        Err(Invalid::new("invalid_format", rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_the_tenants_page() {
        let acme: Slug = "acme".parse().unwrap();
        let to = |link: &Link| link.to(("https://acme.example.com", &acme), Action::AcceptInvitation, "t0k-en_");
        assert_eq!(to(&Link::default()), "https://acme.example.com/account/accept-invitation#token=t0k-en_");
        let other = "https://app.example.com/{slug}/{action}?t={token}".parse().unwrap();
        assert_eq!(to(&other), "https://app.example.com/acme/accept-invitation?t=t0k-en_");
        assert_eq!(Link::default().as_str().parse(), Ok(Link::default()));
    }

    #[test]
    fn what_is_no_link_is_refused() {
        for bad in [
            "",
            "{url}/{token}",
            "{url}/{action}",
            "javascript:{action}{token}",
            "https://a.example/{action}?{token}&{user}",
            "https://a.example/{action} {token}",
            "https://a.example/\"{action}{token}",
        ] {
            assert!(bad.parse::<Link>().is_err(), "{bad:?}");
        }
    }
}
