//! The names that a product leaves to Freehold: those that Freehold has, and those that its later releases take.
//!
//! A product that used one of them could not upgrade. So a name is written here first, and Freehold takes it later: a
//! test fails when Freehold serves an operation or a schema under a name that products may have. Only what a tenant's
//! people meet is in these lists. What is an operator's alone has a listener and a plane of its own, where no product
//! is.

/// The resources right below `/v1/` and in the permissions of tenants.
pub const RESERVED_RESOURCES: &[&str] = &[
    "api-keys",
    "audit-events",
    "auth",
    "domains",
    "exports",
    "invitations",
    "limits",
    "permissions",
    "roles",
    "service-accounts",
    "sessions",
    "settings",
    "tenant",
    "usage",
    "users",
];

/// The prefixes of kinds of ids that are still to come: rollouts, factors, devices, service accounts, jobs, schedules,
/// mails, limits, overrides of plans, entries of the usage ledger, domains and exports.
pub const RESERVED_PREFIXES: &[&str] = &[
    "adm", "dev", "dom", "exp", "fac", "fhd", "job", "led", "lim", "mail", "ovr", "pln", "pol", "rol", "rot", "sch",
    "svc", "tok", "use", "wav",
];

/// What Freehold's operations and schemas are about, each in the singular. From `user` come `list_users`,
/// `deactivate_user`, `User`, `NewUser`, `UserPatch` and the like.
pub const RESERVED_NOUNS: &[&str] = &[
    "api_key",
    "audit_chain",
    "audit_event",
    "caller",
    "challenge",
    "credential",
    "device",
    "email",
    "factor",
    "health",
    "import",
    "invitation",
    "key_set",
    "limit",
    "liveness",
    "lockout",
    "me",
    "mfa",
    "passkey",
    "password",
    "permission",
    "plan",
    "profile",
    "quota",
    "readiness",
    "recovery_code",
    "registration",
    "role",
    "security_log",
    "service_account",
    "session",
    "setting",
    "tenant",
    "token",
    "totp",
    "usage",
    "user",
    "verification",
];

/// Operations that are named after what they do alone.
pub const RESERVED_OPERATIONS: &[&str] =
    &["act_as", "login", "logout", "logout_all", "ping", "refresh", "register", "step_up"];

/// What a schema's name may have around its noun.
const BEGINNINGS: [&str; 3] = ["new_", "my_", "issued_"];
const ENDINGS: [&str; 9] = ["_filter", "_id", "_kind", "_list", "_page", "_patch", "_sort", "_state", "_summary"];

/// Whether the id of an operation is Freehold's: one of its own, or a verb and one of its nouns.
#[must_use]
pub fn is_reserved_operation(id: &str) -> bool {
    let noun = id.split_once('_').map(|(_, noun)| noun);
    RESERVED_OPERATIONS.contains(&id) || noun.is_some_and(is_noun)
}

/// Whether the name of a schema is Freehold's.
#[must_use]
pub fn is_reserved_schema(name: &str) -> bool {
    // A page of a list is called after what it lists.
    let words = words(name.strip_prefix("Listing_").unwrap_or(name));
    let begun = BEGINNINGS.iter().find_map(|beginning| words.strip_prefix(beginning)).unwrap_or(&words);
    is_noun(ENDINGS.iter().find_map(|ending| begun.strip_suffix(ending)).unwrap_or(begun))
}

fn is_noun(words: &str) -> bool {
    RESERVED_NOUNS.contains(&words) || words.strip_suffix('s').is_some_and(|one| RESERVED_NOUNS.contains(&one))
}

/// `ApiKey` as `api_key`.
fn words(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push('_');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nouns_are_found_in_what_is_made_of_them_and_nowhere_else() {
        for id in ["list_users", "revoke_session", "get_usage", "rotate_api_key", "verify_email", "login", "act_as"] {
            assert!(is_reserved_operation(id), "{id}");
        }
        for id in ["list_tasks_of_user", "user", "list_userships", "create_note", "loginless"] {
            assert!(!is_reserved_operation(id), "{id}");
        }
        for name in [
            "User",
            "Users",
            "NewUser",
            "UserPatch",
            "UserId",
            "Listing_User",
            "ApiKey",
            "NewApiKey",
            "AuditEventFilter",
            "MyTenant",
            "IssuedApiKey",
        ] {
            assert!(is_reserved_schema(name), "{name}");
        }
        for name in ["Note", "NewNote", "UserStory", "PowerUser", "Sort", "NoteId", "Listing_Note"] {
            assert!(!is_reserved_schema(name), "{name}");
        }
    }
}
