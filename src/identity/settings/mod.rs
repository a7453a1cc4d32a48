//! What a tenant has decided about its people: one row for each decision.
//!
//! A decision is read where it counts, in the statement that goes by it or in the same transaction, so that no replica
//! goes by an older one. What is not decided is as [`Decisions::default`] says. A decision may ask for more than
//! Freehold does, and never for less: a session ends at the latest when the operators' settings say so.
//!
//! This module must never judge who may decide.

mod store;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
pub(super) use store::{is, lets_unverified_in, number, time};

use crate::{
    error::{Error, FieldError, Result},
    tenancy::{Statements, TenantTxn},
    types::Email,
};

/// The shortest password of an account that nothing else protects, and of one with a second factor (NIST SP 800-63B-4,
/// §3.1.1.2), in characters.
pub(super) const MIN_ALONE: u16 = 15;
const MIN_WITH_FACTOR: u16 = 8;
/// No policy asks for longer ones.
const MAX_MIN: u16 = 128;
/// Shorter than an access token lives, a session could not be told from one that is idle.
const MIN_SESSION: u32 = 900;
/// Ninety days: no session lives longer.
const MAX_SESSION: u32 = 90 * 24 * 3_600;
/// How many sessions somebody has at most, whatever is decided.
pub(super) const MAX_SESSIONS: u32 = 100;
/// How many domains may register at most.
const MAX_DOMAINS: usize = 100;
/// How many former passwords are compared with a new one at most: each costs a hash.
const MAX_HISTORY: u8 = 24;

/// How long a deleted user is kept at most: ten years.
const MAX_DELETED_DAYS: u32 = 3_650;

/// What happens to a sign-in of somebody who has as many sessions as they may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SettingState)]
pub enum WhenFull {
    /// The session ends that was used longest ago.
    #[default]
    EndOldest,
    /// The sign-in is refused.
    Refuse,
}

/// Who may make an account for themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RegistrationState)]
pub enum Registration {
    /// Whoever is invited.
    #[default]
    Invitation,
    /// Anybody.
    Open,
    /// Whoever has an address in one of the domains.
    Domain,
    /// Nobody.
    Closed,
}

/// A kind of characters that a password must have one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PasswordList)]
pub enum CharacterClass {
    /// Upper-case letters.
    Upper,
    /// Lower-case letters.
    Lower,
    /// Digits.
    Digit,
    /// What is neither a letter nor a digit.
    Special,
}

/// What a tenant has decided about its people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
#[schema(as = Settings)]
pub struct Decisions {
    /// Who may make an account for themselves.
    pub registration: Registration,
    /// The domains whose addresses may register, if that goes by domain.
    pub registration_domains: Vec<String>,
    /// Whether nobody signs in before their e-mail address is verified.
    pub require_verified_email: bool,
    /// How long a session lives without use, if that is shorter than the operators say.
    pub session_idle_seconds: Option<u32>,
    /// How long a session lives in any case, if that is shorter than ninety days.
    pub session_lifetime_seconds: Option<u32>,
    /// How many sessions somebody may have at once.
    pub sessions_per_user: u32,
    /// What happens when somebody signs in who has so many.
    pub session_limit: WhenFull,
    /// How many characters a password has at least.
    pub password_min_length: u16,
    /// Of which kinds a password must have a character.
    pub password_classes: Vec<CharacterClass>,
    /// How many of somebody's former passwords they may not choose again.
    pub password_history: u8,
    /// Passwords that were chosen before this time have to be changed at the next sign-in.
    pub passwords_valid_from: Option<DateTime<Utc>>,
    /// Whether everybody needs a second factor. Who has none sets one up at the next sign-in.
    pub mfa_required: bool,
    /// How many days a deleted user can be brought back before they are erased.
    pub deleted_user_days: u16,
}

impl Default for Decisions {
    fn default() -> Self {
        Self {
            registration: Registration::default(),
            registration_domains: Vec::new(),
            require_verified_email: true,
            session_idle_seconds: None,
            session_lifetime_seconds: None,
            sessions_per_user: MAX_SESSIONS,
            session_limit: WhenFull::default(),
            password_min_length: MIN_ALONE,
            password_classes: Vec::new(),
            password_history: 0,
            passwords_valid_from: None,
            mfa_required: false,
            deleted_user_days: 30,
        }
    }
}

impl Decisions {
    /// What the tenant has decided, and the version of that.
    ///
    /// # Errors
    /// A decision that this release does not understand.
    pub(super) async fn read(statements: &impl Statements) -> Result<(Self, i64)> {
        let (decided, version) = store::read(statements).await?;
        Ok((serde_json::from_value(Value::Object(decided)).map_err(Error::internal)?, version))
    }

    /// Reads the decisions, which nobody else changes until the transaction ends.
    pub(super) async fn lock_in_txn(txn: &TenantTxn<'_>) -> Result<(Self, i64)> {
        store::lock(txn).await?;
        Self::read(txn).await
    }

    /// Refuses an address that nobody may make an account with for themselves.
    ///
    /// # Errors
    /// `registration_closed` (403); `domain_not_allowed` on `email`.
    pub(super) fn require_registration(&self, email: &Email) -> Result<()> {
        match self.registration {
            Registration::Open => Ok(()),
            Registration::Domain => {
                let domain = email.as_str().rsplit('@').next().unwrap_or_default();
                if self.registration_domains.iter().any(|allowed| allowed == domain) {
                    return Ok(());
                }
                let message = "must be in one of the domains that may register here";
                Err(FieldError::new("email", "domain_not_allowed", message).into())
            }
            Registration::Invitation | Registration::Closed => Err(registration_closed()),
        }
    }

    /// Stores what differs from `before`; answers with that, by name.
    ///
    /// # Errors
    /// `validation_failed`, on the fields that cannot be decided so.
    pub(super) async fn replace_in_txn(&self, txn: &TenantTxn<'_>, before: &Self) -> Result<Map<String, Value>> {
        self.check()?;
        let (old, new) = (fields(before)?, fields(self)?);
        let changed: Map<_, _> = new.into_iter().filter(|(name, value)| old.get(name) != Some(value)).collect();
        store::write(txn, &changed).await?;
        Ok(changed)
    }

    /// Each domain in the form that addresses have.
    fn check_domains(&self) -> Vec<FieldError> {
        let domains = &self.registration_domains;
        let mut errors = Vec::new();
        let needs_one = self.registration == Registration::Domain && domains.is_empty();
        if needs_one || domains.len() > MAX_DOMAINS {
            let message = "must have 1 to 100 domains where registration goes by domain";
            errors.push(FieldError::new("registration_domains", "invalid_length", message));
        }
        let is_one = |domain: &String| {
            let address = format!("x@{domain}").parse::<Email>();
            address.is_ok_and(|address| address.as_str().strip_prefix("x@") == Some(domain))
        };
        for (at, _) in domains.iter().enumerate().filter(|(_, domain)| !is_one(domain)) {
            let message = "must be a domain in lower case such as example.com, in ASCII (xn--…)";
            errors.push(FieldError::new(format!("registration_domains[{at}]"), "invalid_domain", message));
        }
        errors
    }

    fn check(&self) -> Result<()> {
        let within = |field: &str, value: Option<u32>, (least, most): (u32, u32)| {
            let message = || format!("must be {least} to {most}");
            value.filter(|value| !(least..=most).contains(value)).map(|_| invalid(field, message()))
        };
        let least = if self.mfa_required { MIN_WITH_FACTOR } else { MIN_ALONE };
        let lengths = (u32::from(least), u32::from(MAX_MIN));
        let errors: Vec<_> = [
            within("session_idle_seconds", self.session_idle_seconds, (MIN_SESSION, MAX_SESSION)),
            within("session_lifetime_seconds", self.session_lifetime_seconds, (MIN_SESSION, MAX_SESSION)),
            within("sessions_per_user", Some(self.sessions_per_user), (1, MAX_SESSIONS)),
            within("password_min_length", Some(self.password_min_length.into()), lengths),
            within("deleted_user_days", Some(self.deleted_user_days.into()), (1, MAX_DELETED_DAYS)),
            within("password_history", Some(self.password_history.into()), (0, MAX_HISTORY.into())),
        ]
        .into_iter()
        .flatten()
        .chain(self.check_domains())
        .collect();
        if errors.is_empty() { Ok(()) } else { Err(Error::Validation(errors)) }
    }
}

/// The refusal where nobody makes an account for themselves.
pub(super) fn registration_closed() -> Error {
    let detail = "nobody can register here; ask somebody who looks after the people to invite you".to_owned();
    Error::Forbidden { code: "registration_closed", detail }
}

fn invalid(field: &str, message: String) -> FieldError {
    FieldError::new(field, "invalid_range", message)
}

fn fields(decisions: &Decisions) -> Result<Map<String, Value>> {
    match serde_json::to_value(decisions).map_err(Error::internal)? {
        Value::Object(fields) => Ok(fields),
        _ => Err(Error::defect("a structure is no JSON object")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_decided_is_as_ever_and_what_others_decide_is_none_of_this() {
        let read = |value: Value| serde_json::from_value::<Decisions>(value).unwrap();
        assert_eq!(read(json!({ "another": "open" })), Decisions::default());
        assert_eq!(read(json!({ "registration": "invitation" })), Decisions::default());
        let some = read(json!({ "session_limit": "refuse", "session_idle_seconds": null, "password_history": 4 }));
        assert_eq!((some.session_limit, some.password_history), (WhenFull::Refuse, 4));
    }

    #[test]
    fn a_short_password_needs_a_second_factor() {
        let with =
            |password_min_length, mfa_required| Decisions { password_min_length, mfa_required, ..Decisions::default() };
        for (length, required, is_accepted) in [
            (15, false, true),
            (14, false, false),
            (8, true, true),
            (7, true, false),
            (128, false, true),
            (129, true, false),
        ] {
            assert_eq!(with(length, required).check().is_ok(), is_accepted, "{length} {required}");
        }
    }

    #[test]
    fn who_registers_by_domain_has_an_address_in_one_and_in_no_other() {
        let by_domain = |domains: &[&str]| Decisions {
            registration: Registration::Domain,
            registration_domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
            ..Decisions::default()
        };
        let decisions = by_domain(&["example.com", "xn--bcher-kva.example"]);
        assert!(decisions.check().is_ok());
        for (address, is_let_in) in [
            ("ada@example.com", true),
            ("ada@EXAMPLE.com", true),
            ("ada@bücher.example", true),
            ("ada@sub.example.com", false),
            ("ada@notexample.com", false),
            ("ada@example.com.evil.example", false),
        ] {
            let let_in = decisions.require_registration(&address.parse().unwrap()).is_ok();
            assert_eq!(let_in, is_let_in, "{address}");
        }
        for bad in [&[][..], &["Example.com"], &["@example.com"], &["bücher.example"], &["localhost"]] {
            assert!(by_domain(bad).check().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn numbers_have_bounds() {
        let all = Decisions {
            session_idle_seconds: Some(899),
            session_lifetime_seconds: Some(MAX_SESSION + 1),
            sessions_per_user: 0,
            password_history: 25,
            deleted_user_days: 0,
            ..Decisions::default()
        };
        let Err(Error::Validation(errors)) = all.check() else { panic!("accepted") };
        assert_eq!(errors.len(), 5, "{errors:?}");
    }
}
