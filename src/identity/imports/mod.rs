//! People who come from another system, with what that has made of their passwords.
//!
//! A tenant's administrators import people, and so do operators. A batch is one transaction, with an event for each person
//! in the tenant's audit log. Each line stands alone: one that is refused keeps no other from being imported. Whoever has
//! an address that is known already is left as they are, so that an import can be repeated.
//!
//! A password that came with somebody is verified as the other system did, and replaced by a hash of ours when its owner
//! signs in. It is not judged by the tenant's policy, since nobody knows it.
//!
//! # What must never happen
//! * Somebody gets a role that grants more than the importing administrator holds.
//! * Somebody who is there already is changed.
//! * An administrator imports without a proof of the last quarter of an hour.
//! * A hash gets in that costs a server more than one of today's hashes by orders of magnitude.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    Caller, Client, IMPORTS_SINCE, Identity, audit,
    credentials::{accept_foreign_hash, add_first_passwords_in_txn},
    people::{self, New},
    require_schema,
    roles::{self, Role, lock_roster_in_txn, require_role_within},
    sessions,
};
use crate::{
    control::tenants::Tenant,
    error::{Error, FieldError, Result},
    tenancy::TenantTxn,
    types::{DisplayName, Email, RoleName, UserId},
};

/// The role of those for whom none is named.
const USUAL_ROLE: &str = "member";
/// The most characters of what another system calls somebody.
const LONGEST_EXTERNAL: usize = 255;

/// Somebody who comes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewImport)]
pub struct Person {
    /// Their address.
    #[schema(inline)]
    pub email: Email,
    /// Their name. Without one it is what stands before the @.
    #[schema(inline)]
    pub name: Option<DisplayName>,
    /// Their role: one that grants no more than yours. Without one they become members.
    #[schema(inline)]
    pub role: Option<RoleName>,
    /// Whether the other system has seen that the address is theirs.
    #[serde(default)]
    pub email_verified: bool,
    /// Whether they may sign in; they may unless it says otherwise.
    pub active: Option<bool>,
    /// What the other system has made of their password: bcrypt, scrypt, PBKDF2 or argon2.
    #[schema(value_type = Option<String>)]
    pub password_hash: Option<SecretString>,
    /// What the other system calls them. It is given back with the line's result and not stored.
    #[schema(max_length = 255)]
    pub external_id: Option<String>,
}

/// A line of an import: what it says, or why it says nothing.
#[derive(Debug)]
pub struct Line {
    /// Its number; the first one is 1.
    pub number: u32,
    /// Who comes.
    pub person: Result<Person, FieldError>,
}

/// What has become of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ImportState)]
pub enum State {
    /// There is a new account, or would be.
    Created,
    /// There was an account with this address, which stays as it is.
    Exists,
    /// Nothing: `error` says why.
    Refused,
}

/// The result of a line.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Import)]
pub struct Imported {
    /// The number of the line; the first one is 1.
    pub line: u32,
    /// What has become of it.
    pub state: State,
    /// Who has the address now. Not of a line that was refused, and not of one that would be created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<UserId>,
    /// What the other system calls them, if the line says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Why the line was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<FieldError>,
}

/// Who imports.
#[derive(Clone, Copy, Debug)]
pub enum By<'a> {
    /// Somebody of the tenant's own.
    Insider(Caller<'a>),
    /// An operator, whom the caller's own tenant, the platform, has let do this.
    Operator {
        /// The tenant whose people come.
        tenant: &'a Tenant,
        /// `usr_…` or `key_…`.
        actor: &'a str,
        /// How they came.
        client: &'a Client,
    },
}

impl By<'_> {
    fn tenant(&self) -> &Tenant {
        match self {
            Self::Insider(caller) => caller.tenant,
            Self::Operator { tenant, .. } => tenant,
        }
    }

    /// Refuses a role that the importing person may not give.
    fn require_may_give(&self, ctx: &Identity, role: &Role) -> Result<()> {
        match self {
            Self::Insider(caller) => require_role_within(ctx, *caller, role),
            Self::Operator { .. } => Ok(()),
        }
    }
}

/// Whether an import may begin.
///
/// # Errors
/// `tenant_schema_outdated`; of the tenant's own people `session_required` for API keys, and
/// `insufficient_user_authentication`.
pub async fn begin(ctx: &Identity, by: By<'_>) -> Result<()> {
    require_schema(by.tenant(), IMPORTS_SINCE)?;
    let By::Insider(caller) = by else { return Ok(()) };
    let mut connection = ctx.tenancy.connect(caller.tenant.id).await?;
    sessions::require_proof_in_txn(&connection.begin().await?, caller.principal).await
}

/// Imports people, in one transaction; or only says what would become of them.
///
/// # Errors
/// The tenant's database cannot be reached. Then nobody of these lines has been imported.
pub async fn import(ctx: &Identity, by: By<'_>, lines: Vec<Line>, is_dry_run: bool) -> Result<Vec<Imported>> {
    let mut connection = ctx.tenancy.connect(by.tenant().id).await?;
    let txn = connection.begin().await?;
    // Roles stay what they are, and nobody else adds people.
    lock_roster_in_txn(&txn).await?;
    let (mut results, mut fit) = (Vec::with_capacity(lines.len()), Vec::with_capacity(lines.len()));
    let roles = roles_in_txn(ctx, &txn, by, &lines).await?;
    for line in lines {
        let number = line.number;
        let external = line.person.as_ref().ok().and_then(|person| person.external_id.clone());
        match line.person.and_then(|person| fit_in(person, &roles)) {
            Ok(person) => fit.push((number, person)),
            // What is too long is not given back.
            Err(error) => results.push(Imported {
                line: number,
                state: State::Refused,
                id: None,
                external_id: external.filter(|text| is_short(text)),
                error: Some(error),
            }),
        }
    }
    results.extend(add_in_txn(ctx, &txn, by, fit, is_dry_run).await?);
    if !is_dry_run {
        txn.commit().await?;
    }
    results.sort_by_key(|result| result.line);
    Ok(results)
}

/// The roles that the lines name, each with its own refusal.
async fn roles_in_txn(
    ctx: &Identity,
    txn: &TenantTxn<'_>,
    by: By<'_>,
    lines: &[Line],
) -> Result<BTreeMap<String, Option<FieldError>>> {
    let people = lines.iter().filter_map(|line| line.person.as_ref().ok());
    let names: BTreeSet<_> = people.map(role_of).collect();
    let mut roles = BTreeMap::new();
    for name in names {
        let refusal = match roles::named(txn, name).await? {
            None => Some(FieldError::new("role", "unknown_role", "must be a role that GET /v1/roles lists")),
            Some(role) => match by.require_may_give(ctx, &role) {
                Ok(()) => None,
                Err(Error::Forbidden { code, detail }) => Some(FieldError::new("role", code, detail)),
                Err(error) => return Err(error),
            },
        };
        roles.insert(name.to_owned(), refusal);
    }
    Ok(roles)
}

fn role_of(person: &Person) -> &str {
    person.role.as_ref().map_or(USUAL_ROLE, RoleName::as_str)
}

fn is_short(external: &str) -> bool {
    external.chars().count() <= LONGEST_EXTERNAL
}

/// Somebody about whom nothing is wrong.
struct Fit {
    person: Person,
    /// The hash as it is stored.
    hash: Option<String>,
}

fn fit_in(person: Person, roles: &BTreeMap<String, Option<FieldError>>) -> Result<Fit, FieldError> {
    if !person.external_id.as_deref().is_none_or(is_short) {
        return Err(FieldError::new("external_id", "too_long", "must have at most 255 characters"));
    }
    if let Some(Some(refusal)) = roles.get(role_of(&person)) {
        return Err(refusal.clone());
    }
    let accepted = |hash: &SecretString| {
        let message = "must be a bcrypt, scrypt, PBKDF2 or argon2 hash of a bearable cost";
        accept_foreign_hash(hash.expose_secret())
            .ok_or_else(|| FieldError::new("password_hash", "unknown_hash", message))
    };
    let hash = person.password_hash.as_ref().map(accepted).transpose()?;
    Ok(Fit { person, hash })
}

/// Adds those whose address nobody has, and says who has which.
async fn add_in_txn(
    ctx: &Identity,
    txn: &TenantTxn<'_>,
    by: By<'_>,
    fit: Vec<(u32, Fit)>,
    is_dry_run: bool,
) -> Result<Vec<Imported>> {
    let emails: Vec<_> = fit.iter().map(|(_, fit)| fit.person.email.as_str()).collect();
    let mut known = people::with_addresses(txn, &emails).await?;
    let (mut new, mut results) = (Vec::new(), Vec::with_capacity(fit.len()));
    for (line, Fit { person, hash }) in fit {
        let found = known.get(person.email.as_str()).copied();
        let state = if found.is_some() { State::Exists } else { State::Created };
        let id = found.unwrap_or_else(|| UserId::generate(&ctx.clock, ctx.random));
        let told = (found.is_some() || !is_dry_run).then_some(id);
        results.push(Imported { line, state, id: told, external_id: person.external_id.clone(), error: None });
        if found.is_none() {
            known.insert(person.email.as_str().to_owned(), id);
            new.push((id, person, hash));
        }
    }
    if is_dry_run || new.is_empty() {
        return Ok(results);
    }
    store_in_txn(ctx, txn, by, &new).await?;
    Ok(results)
}

async fn store_in_txn(
    ctx: &Identity,
    txn: &TenantTxn<'_>,
    by: By<'_>,
    new: &[(UserId, Person, Option<String>)],
) -> Result<()> {
    let (mut added, mut hashes, mut done) = (Vec::new(), Vec::new(), Vec::<(String, Value)>::new());
    for (id, person, hash) in new {
        let (role, active, verified) = (role_of(person), person.active.unwrap_or(true), person.email_verified);
        let local_part = person.email.as_str().split('@').next().unwrap_or_default();
        let name = person.name.as_ref().map_or(local_part, DisplayName::as_str);
        added.push(New { id: *id, email: &person.email, name, role, active, verified });
        hashes.extend(hash.as_deref().map(|hash| (*id, hash)));
        let details = json!({ "role": role, "active": active, "verified": verified, "password": hash.is_some() });
        done.push((id.to_string(), details));
    }
    people::add_all(txn, &added).await?;
    add_first_passwords_in_txn(ctx, txn, &hashes).await?;
    let (actor, client) = match by {
        By::Insider(caller) => (caller.principal.id_text(), caller.client),
        By::Operator { actor, client, .. } => (actor.to_owned(), client),
    };
    audit::write_all(ctx, txn, client, (&actor, "user.imported"), &done).await
}
