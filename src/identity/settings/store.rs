//! Table `settings`: the only SQL that speaks to it, in parts of other rooms' statements.

/// An expression: whether people may sign in before their address is verified.
macro_rules! lets_unverified_in {
    () => {
        "EXISTS (SELECT FROM freehold.settings WHERE name = 'require_verified_email' AND value = 'false')"
    };
}
pub(in crate::identity) use lets_unverified_in;
