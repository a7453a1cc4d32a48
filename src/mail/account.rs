//! The mails about somebody's account: links that prove an address or choose a password, and notices of what was done.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Letter, Mailer};
use crate::error::Result;

/// What a mail about an account says. The name is stored with jobs: it may never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Words {
    /// Asks whether the address is theirs.
    Verification,
    /// Lets them choose another password.
    PasswordReset,
    /// Asks whether an account shall have this address.
    EmailChange,
    /// Tells that somebody wanted an account with the address, which has one.
    EmailTaken,
    /// Tells that they can sign in.
    Welcome,
    /// Tells that the password was changed.
    PasswordChanged,
    /// Tells the former address that the account has another one.
    EmailChanged,
    /// Tells that an authenticator app was set up.
    FactorEnabled,
    /// Tells that the authenticator app was taken away.
    FactorDisabled,
    /// Tells that an API key was made.
    ApiKeyCreated,
    /// Tells of a sign-in with a device that nobody has signed in with before.
    NewDevice,
}

/// What the mail tells.
pub struct AboutAccount<'a> {
    /// The tenant's name.
    pub tenant: &'a str,
    /// Where its link leads.
    pub link: &'a str,
    /// Until when.
    pub expires_at: DateTime<Utc>,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// From which network address.
    pub from: &'a str,
}

/// The words of one mail. `{tenant}` stands for the tenant's name in the subject.
struct Text {
    subject: &'static str,
    /// What has happened, or is asked for.
    said: &'static str,
    /// What the link does; empty where there is none.
    button: &'static str,
    /// What else there is to know.
    closing: &'static str,
}

/// What a notice says: its link takes back what was done, as far as that can be.
const fn notice(subject: &'static str, said: &'static str) -> Text {
    let closing = "If it was you, you need not do anything. If it was not, follow the link: all sessions, devices and API \
                   keys of the account end, and a new password has to be chosen.";
    Text { subject, said, button: "This was not me", closing }
}

impl Words {
    const fn text(self) -> Text {
        match self {
            Self::Verification => Text {
                subject: "Confirm your address for {tenant}",
                said: "Somebody, hopefully you, wants an account with this address.",
                button: "Confirm the address",
                closing: "If it was not you, do not follow the link: then there will be no account.",
            },
            Self::PasswordReset => Text {
                subject: "Choose a new password for {tenant}",
                said: "A new password is to be chosen for your account.",
                button: "Choose a new password",
                closing: "If you did not ask for this, you need not do anything: your password stays as it is. Whoever \
                          has this link can choose the password: do not pass it on.",
            },
            Self::EmailChange => Text {
                subject: "Confirm your new address for {tenant}",
                said: "An account is to have this address from now on.",
                button: "Confirm the new address",
                closing: "If it is not your account, do not follow the link: then nothing is changed.",
            },
            Self::EmailTaken => Text {
                subject: "You have an account at {tenant} already",
                said: "Somebody wanted an account with your address, which has one already. Nothing was changed.",
                button: "",
                closing: "If it was you, sign in, or choose a new password. If it was not, you need not do anything.",
            },
            Self::Welcome => notice("Welcome to {tenant}", "Your address is confirmed, and you can sign in with it."),
            Self::PasswordChanged => {
                notice("Your password for {tenant} was changed", "The password of your account was changed.")
            }
            Self::EmailChanged => Text {
                subject: "Your account at {tenant} has another address now",
                said: "Your account has another address from now on. This one does not belong to it any more.",
                button: "Take this back",
                closing: "If it was you, you need not do anything. If it was not, follow the link: the account gets this \
                          address back, all its sessions, devices and API keys end, and a new password has to be chosen.",
            },
            Self::FactorEnabled => notice(
                "An authenticator app was set up for {tenant}",
                "An authenticator app was set up for your account.",
            ),
            Self::FactorDisabled => notice(
                "Your authenticator app for {tenant} was taken away",
                "Your account needs no code of an authenticator app any more.",
            ),
            Self::ApiKeyCreated => notice("An API key was made at {tenant}", "An API key was made for your account."),
            Self::NewDevice => notice(
                "Somebody signed in at {tenant} with a new device",
                "Somebody signed in to your account with a device that it was not used with before.",
            ),
        }
    }
}

impl Mailer {
    /// Writes a mail about an account.
    ///
    /// # Errors
    /// A template is wrong.
    pub fn account(&self, words: Words, about: &AboutAccount<'_>) -> Result<Letter> {
        let (AboutAccount { tenant, link, expires_at, at, from }, text) = (about, words.text());
        let spelled = |time: &DateTime<Utc>| time.format("%-d %B %Y, %H:%M UTC").to_string();
        let (until, at) = (spelled(expires_at), spelled(at));
        let values = [
            ("tenant", *tenant),
            ("said", text.said),
            ("at", at.as_str()),
            ("from", *from),
            ("button", text.button),
            ("link", *link),
            ("until", until.as_str()),
            ("closing", text.closing),
        ];
        self.templates.letter("account", &text.subject.replace("{tenant}", tenant), values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{Route, Settings};

    #[test]
    fn every_mail_has_its_link_in_both_forms_but_for_the_one_that_needs_none() {
        let sender = "no-reply@example.com".parse().unwrap();
        let mailer = Mailer::new(&Settings { sender, route: Route::Folder("/nowhere".into()) }).unwrap();
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let link = "https://acme.example.com/account/not-me#token=abc";
        let about = AboutAccount { tenant: "Acme <b>", link, expires_at: at, at, from: "192.0.2.7" };
        for words in [
            Words::Verification,
            Words::PasswordReset,
            Words::EmailChange,
            Words::EmailTaken,
            Words::Welcome,
            Words::PasswordChanged,
            Words::EmailChanged,
            Words::FactorEnabled,
            Words::FactorDisabled,
            Words::ApiKeyCreated,
            Words::NewDevice,
        ] {
            let letter = mailer.account(words, &about).unwrap();
            assert_eq!(letter.text.contains(link), words != Words::EmailTaken, "{words:?}: {}", letter.text);
            assert_eq!(letter.html.contains("#token=abc"), words != Words::EmailTaken, "{words:?}: {}", letter.html);
            assert!(letter.text.contains("192.0.2.7") && letter.subject.contains("Acme <b>"), "{}", letter.text);
            assert!(!letter.html.contains("<b>"), "{}", letter.html);
        }
    }
}
