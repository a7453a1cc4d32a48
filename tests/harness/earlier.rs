//! Tenants as an earlier release left them: what Freehold's own migrations made is taken back, the newest first.

/// What takes back each of Freehold's migrations, from the second one on. Whoever adds a migration adds its line.
const BACK: [(i32, &str); 5] = [
    (
        2,
        "DROP TABLE freehold.sign_in_steps;
         DELETE FROM freehold.credentials WHERE kind <> 'password';
         ALTER TABLE freehold.sessions DROP COLUMN proved_at;
         ALTER TABLE freehold.refresh_tokens DROP COLUMN confirmed_at;
         ALTER TABLE freehold.credentials DROP CONSTRAINT credentials_totp_check,
             DROP CONSTRAINT credentials_trusted_device_check,
             DROP CONSTRAINT credentials_recovery_code_check, DROP CONSTRAINT credentials_former_password_check,
             DROP CONSTRAINT credentials_kind_check,
             ADD CONSTRAINT credentials_kind_check CHECK (kind IN ('password'))",
    ),
    (
        3,
        "DROP TABLE freehold.audit_batches, freehold.audit_digests, freehold.audit_horizons;
         DROP FUNCTION freehold.forget_audit_batch(integer);
         ALTER TABLE freehold.users DROP COLUMN kind, DROP COLUMN deleted_at;
         ALTER TABLE freehold.roles DROP COLUMN version, DROP COLUMN updated_at",
    ),
    (4, "DROP TABLE freehold.account_tokens"),
    (
        5,
        "ALTER TABLE freehold.credentials DROP CONSTRAINT credentials_password_check,
             ADD CONSTRAINT credentials_password_check
                 CHECK (kind <> 'password' OR handle = '' AND (data ->> 'hash' LIKE '$argon2id$%') IS TRUE),
             DROP CONSTRAINT credentials_former_password_check,
             ADD CONSTRAINT credentials_former_password_check
                 CHECK (kind <> 'former_password' OR (data ->> 'hash' LIKE '$argon2id$%') IS TRUE)",
    ),
    (
        6,
        "DROP TABLE freehold.sign_in_attempts;
         DELETE FROM freehold.credentials WHERE kind = 'known_device';
         ALTER TABLE freehold.credentials DROP CONSTRAINT credentials_known_device_check,
             DROP CONSTRAINT credentials_kind_check,
             ADD CONSTRAINT credentials_kind_check
                 CHECK (kind IN ('password', 'former_password', 'totp', 'recovery_code', 'trusted_device'))",
    ),
];

/// The statements that take a tenant's database back to `version` of Freehold's stream.
pub(crate) fn back_to(version: i32) -> String {
    let newer = BACK.iter().rev().filter(|(number, _)| *number > version).map(|(_, back)| (*back).to_owned());
    let forgotten = format!("DELETE FROM freehold.refinery_schema_history WHERE version > {version}");
    newer.chain([forgotten]).collect::<Vec<_>>().join(";\n")
}
