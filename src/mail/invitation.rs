//! The mail that invites somebody to a tenant.

use chrono::{DateTime, Utc};

use super::{Letter, Mailer};
use crate::error::Result;

/// What the mail tells.
pub struct Invitation<'a> {
    /// The tenant's name.
    pub tenant: &'a str,
    /// Where the invitation is accepted.
    pub link: &'a str,
    /// Until when.
    pub expires_at: DateTime<Utc>,
}

impl Mailer {
    /// Invites somebody to a tenant.
    ///
    /// # Errors
    /// A template is wrong.
    pub fn invitation(&self, about: &Invitation<'_>) -> Result<Letter> {
        let Invitation { tenant, link, expires_at } = about;
        let until = expires_at.format("%-d %B %Y, %H:%M UTC").to_string();
        let values = [("tenant", *tenant), ("link", *link), ("until", until.as_str())];
        self.templates.letter("invitation", &format!("You are invited to join {tenant}"), values)
    }
}
