//! All SQL on the table `credentials`, and the parts of other modules' statements that use it.

use crate::{
    error::Result,
    tenancy::Statements,
    types::{CredentialId, UserId},
};

/// An SQL expression: the password hash of the user with the id `$user`, or NULL.
macro_rules! password_hash {
    ($user:literal) => {
        concat!(
            "(SELECT c.data ->> 'hash' FROM freehold.credentials c WHERE c.user_id = ",
            $user,
            " AND c.kind = 'password')"
        )
    };
}
pub(in crate::identity) use password_hash;

/// An SQL expression: whether the user with the id `$user` has a password.
macro_rules! has_password {
    ($user:literal) => {
        concat!("EXISTS (SELECT FROM freehold.credentials c WHERE c.user_id = ", $user, " AND c.kind = 'password')")
    };
}
pub(in crate::identity) use has_password;

/// An SQL statement: adds a password to the users in `$people` who have none.
macro_rules! add_password {
    ($people:literal, id = $id:literal, hash = $hash:literal) => {
        concat!(
            "INSERT INTO freehold.credentials (id, user_id, kind, data)
             SELECT ",
            $id,
            "::uuid, id, 'password', jsonb_build_object('hash', ",
            $hash,
            "::text) FROM ",
            $people,
            " ON CONFLICT (user_id, kind, handle) DO NOTHING"
        )
    };
}
pub(in crate::identity) use add_password;

const INSERT_PASSWORD: &str = "INSERT INTO freehold.credentials (id, user_id, kind, data)
    VALUES ($1, $2, 'password', jsonb_build_object('hash', $3::text))";

/// Adds a password.
pub(super) async fn insert_password(
    statements: &impl Statements,
    id: CredentialId,
    user: UserId,
    hash: &str,
) -> Result<()> {
    statements.run(INSERT_PASSWORD, &[&id.uuid(), &user.uuid(), &hash]).await?;
    Ok(())
}
