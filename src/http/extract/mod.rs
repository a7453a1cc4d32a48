//! Extractors of handlers: parsed bodies, queries, paths and headers. When a handler runs, its input is valid.
//!
//! Every refusal is a [`Problem`](super::problem::Problem) with a stable code. Wrong fields are named by their
//! path (`admin.email`); the rejected value itself is never repeated, since it may be a password.

mod caller;
mod change;
mod field;
mod headers;
mod json;
mod list;
mod path;
mod query;
mod tenant;

pub use caller::{Insider, Member, Operator, SignedIn, Watched};
pub use change::Change;
pub use headers::{ETag, IdempotencyKey, IfMatch, PreferWait};
pub use json::{Json, JsonIfAny, NoBody};
pub(super) use json::{body_refusal, read_object};
pub use list::{CursorKey, List, Listing, NoFilter, Page};
pub use path::Path;
pub use query::Query;
pub use tenant::{From, Tenant};

pub(super) use crate::identity::people_right;
pub use crate::{identity::right, types::Right};
