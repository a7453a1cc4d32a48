//! A tenant's people, as those see them who look after them: lists, one of them, and how many there are.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::store;
use crate::{
    error::{Error, Result},
    identity::Identity,
    types::{RoleName, Search, TenantId, UserId},
};

/// Whose account it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = UserKind)]
pub enum Kind {
    /// A person's.
    Person,
    /// A program's.
    Service,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Service => "service",
        }
    }

    pub(super) fn stored(text: &str) -> Result<Self> {
        let all = [Self::Person, Self::Service];
        let found = all.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| Error::defect(format!("a stored user is of the kind {text}")))
    }
}

/// Which people a list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = UserState)]
pub enum State {
    /// Those who may sign in.
    Active,
    /// Those who were deactivated.
    Inactive,
    /// Those who were deleted and not erased.
    Deleted,
}

/// Somebody.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// Their address; null for a service account.
    pub email: Option<String>,
    /// Their name.
    pub name: String,
    /// Their role.
    pub role: String,
    /// Whose account it is.
    pub kind: Kind,
    /// Whether they may sign in.
    pub active: bool,
    /// Whether they have proven that the address is theirs.
    pub email_verified: bool,
    /// When they came.
    pub created_at: DateTime<Utc>,
    /// When something about them was last changed.
    pub updated_at: DateTime<Utc>,
    /// When they were deleted, if they can still be brought back.
    pub deleted_at: Option<DateTime<Utc>>,
    /// For the entity tag.
    #[serde(skip)]
    pub version: i64,
}

impl User {
    /// What the order is by, as a cursor has it.
    #[must_use]
    pub fn key(&self, sort: Sort) -> String {
        match sort {
            Sort::OldestFirst | Sort::NewestFirst => String::new(),
            Sort::NameAscending | Sort::NameDescending => self.name.clone(),
            Sort::EmailAscending | Sort::EmailDescending => {
                self.email.clone().unwrap_or_else(|| service_address(self.id))
            }
        }
    }
}

/// What stands for a service account's address: made of its id, in a domain that no mail reaches (RFC 2606).
pub(super) fn service_address(id: UserId) -> String {
    format!("{id}@service.invalid")
}

/// The orders of a list of people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = UserSort)]
pub enum Sort {
    /// By when they came.
    #[serde(rename = "created_at")]
    OldestFirst,
    /// The other way round.
    #[default]
    #[serde(rename = "-created_at")]
    NewestFirst,
    /// By name.
    #[serde(rename = "name")]
    NameAscending,
    /// The other way round.
    #[serde(rename = "-name")]
    NameDescending,
    /// By address.
    #[serde(rename = "email")]
    EmailAscending,
    /// The other way round.
    #[serde(rename = "-email")]
    EmailDescending,
}

/// Which people are looked for. What is absent is not looked at.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// A part of the name or the address.
    pub q: Option<Search>,
    /// Their role.
    pub role: Option<RoleName>,
    /// Whose accounts.
    pub kind: Option<Kind>,
    /// Their state. Unless it is asked for, deleted people are left out.
    pub state: Option<State>,
}

impl Filter {
    /// As parameters of a statement.
    pub(super) fn params(&self) -> (Option<String>, Option<&str>, Option<&'static str>, Option<&'static str>) {
        let state = self.state.map(|state| match state {
            State::Active => "active",
            State::Inactive => "inactive",
            State::Deleted => "deleted",
        });
        let role = self.role.as_ref().map(RoleName::as_str);
        (self.q.as_ref().map(Search::pattern), role, self.kind.map(Kind::as_str), state)
    }
}

/// A page of a list of people.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    /// Which people.
    pub filter: &'a Filter,
    /// In which order.
    pub sort: Sort,
    /// The last one that was seen: what the order is by, and their id.
    pub after: Option<(String, Uuid)>,
    /// How many at most.
    pub limit: i64,
}

/// How many there are.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = UserSummary)]
pub struct Counts {
    /// People who are not deleted.
    pub people: i64,
    /// People who may sign in.
    pub active: i64,
    /// Those of them whose address is verified.
    pub verified: i64,
    /// Deleted accounts that can be brought back.
    pub deleted: i64,
    /// Service accounts that are not deleted.
    pub service_accounts: i64,
    /// Active accounts of each role.
    pub active_by_role: BTreeMap<String, i64>,
}

/// One page of the people who match, and how many match if that is asked for.
///
/// # Errors
/// The tenant's database cannot be reached.
pub async fn list(
    ctx: &Identity,
    tenant: TenantId,
    query: &Query<'_>,
    with_total: bool,
) -> Result<(Vec<User>, Option<i64>)> {
    let connection = ctx.tenancy.connect(tenant).await?;
    let total = if with_total { Some(store::total(&connection, query).await?) } else { None };
    Ok((store::page(&connection, query).await?, total))
}

/// One of them, deleted or not.
///
/// # Errors
/// `not_found`.
pub async fn get(ctx: &Identity, tenant: TenantId, id: UserId) -> Result<User> {
    let user = store::get(&ctx.tenancy.connect(tenant).await?, id).await?;
    user.ok_or_else(|| Error::not_found("user"))
}

/// How many there are.
///
/// # Errors
/// The tenant's database cannot be reached.
pub async fn counts(ctx: &Identity, tenant: TenantId) -> Result<Counts> {
    store::counts(&ctx.tenancy.connect(tenant).await?).await
}
