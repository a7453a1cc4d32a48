//! Who may call what: every route of both listeners × every kind of caller, with the status that each gets.
//!
//! The routes are read from the listeners' own OpenAPI documents: one without a row here fails, and so does a row
//! without a route. Requests carry ids that name nothing and bodies that say nothing, so 404 and 422 mean "let in".

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use secrecy::SecretString;
use serde_json::json;

use crate::harness::{
    actors::{Anonymous, Caller},
    answer::Answer,
    fleet::{self, Fleet, METRICS_TOKEN},
};

/// A route and the status for each caller, in the order of [`public_callers`] or [`admin_callers`].
type Row<const N: usize> = (&'static str, [u16; N]);

/// anonymous, garbage, expired, foreign admin, operator, operator's key | viewer, member, admin, owner
#[rustfmt::skip]
const PUBLIC: &[Row<10>] = &[
    ("GET /.well-known/jwks.json",           [200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("GET /health",                          [200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("GET /health/live",                     [200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("GET /health/ping",                     [200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("GET /health/ready",                    [200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("POST /v1/auth/login",                  [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/refresh",                [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/invitations/accept",     [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/mfa/verify",             [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/mfa/totp/enrol",         [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/mfa/totp/enrol/confirm", [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/register",                   [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/email/resend",               [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/email/verify",               [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/password/forgot",            [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/password/reset",             [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/email/change/confirm",       [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/email/change/undo",          [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/not-me",                     [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/email/change",               [401, 401, 401, 403, 403, 401, 422, 422, 422, 422]),
    ("PATCH /v1/auth/me",                        [401, 401, 401, 403, 403, 401, 200, 200, 200, 200]),
    ("GET /v1/auth/me",                      [401, 401, 401, 403, 403, 401, 200, 200, 200, 200]),
    ("GET /v1/auth/sessions",                [401, 401, 401, 403, 403, 401, 200, 200, 200, 200]),
    ("DELETE /v1/auth/sessions/{id}",        [401, 401, 401, 403, 403, 401, 404, 404, 404, 404]),
    ("POST /v1/auth/step-up",                [401, 401, 401, 403, 403, 401, 422, 422, 422, 422]),
    ("POST /v1/auth/password/change",        [401, 401, 401, 403, 403, 401, 422, 422, 422, 422]),
    ("POST /v1/auth/mfa/totp/setup",         [401, 401, 401, 403, 403, 401, 200, 200, 200, 200]),
    ("POST /v1/auth/mfa/totp/confirm",       [401, 401, 401, 403, 403, 401, 422, 422, 422, 422]),
    ("POST /v1/auth/mfa/totp/disable",       [401, 401, 401, 403, 403, 401, 422, 422, 422, 422]),
    ("POST /v1/auth/mfa/recovery-codes",     [401, 401, 401, 403, 403, 401, 409, 409, 409, 409]),
    ("DELETE /v1/auth/mfa/devices",          [401, 401, 401, 403, 403, 401, 204, 204, 204, 204]),
    ("GET /v1/settings",                     [401, 401, 401, 403, 403, 401, 403, 403, 200, 200]),
    ("PATCH /v1/settings",                   [401, 401, 401, 403, 403, 401, 403, 403, 200, 200]),
    ("GET /v1/permissions",                   [401, 401, 401, 403, 403, 401, 403, 403, 200, 200]),
    ("GET /v1/roles",                         [401, 401, 401, 403, 403, 401, 403, 403, 200, 200]),
    ("POST /v1/roles",                        [401, 401, 401, 403, 403, 401, 403, 403, 422, 422]),
    ("GET /v1/roles/{name}",                  [401, 401, 401, 403, 403, 401, 403, 403, 404, 404]),
    ("PATCH /v1/roles/{name}",                [401, 401, 401, 403, 403, 401, 403, 403, 422, 422]),
    ("DELETE /v1/roles/{name}",               [401, 401, 401, 403, 403, 401, 403, 403, 404, 404]),
    ("GET /v1/users",                         [401, 401, 401, 403, 403, 401, 403, 403, 200, 200]),
    ("GET /v1/users/stats",                   [401, 401, 401, 403, 403, 401, 403, 403, 200, 200]),
    // Let in, and told that a JSON object is no lines.
    ("POST /v1/users/import",                 [401, 401, 401, 403, 403, 401, 403, 403, 415, 415]),
    ("GET /v1/users/{id}",                    [401, 401, 401, 403, 403, 401, 403, 403, 404, 404]),
    ("PATCH /v1/users/{id}",                  [401, 401, 401, 403, 403, 401, 403, 403, 404, 404]),
    ("DELETE /v1/users/{id}",                 [401, 401, 401, 403, 403, 401, 403, 403, 404, 404]),
    ("POST /v1/users/{id}/restore",           [401, 401, 401, 403, 403, 401, 403, 403, 404, 404]),
    ("POST /v1/users/{id}/erase",             [401, 401, 401, 403, 403, 401, 403, 403, 404, 404]),
    ("POST /v1/users/{id}/revoke-sessions",   [401, 401, 401, 403, 403, 401, 403, 403, 404, 404]),
    ("GET /v1/users/{id}/lockout",            [401, 401, 401, 403, 403, 401, 403, 403, 404, 404]),
    ("POST /v1/users/{id}/unlock",            [401, 401, 401, 403, 403, 401, 403, 403, 404, 404]),
    ("GET /v1/invitations",                   [401, 401, 401, 403, 403, 401, 403, 403, 200, 200]),
    ("POST /v1/invitations",                  [401, 401, 401, 403, 403, 401, 403, 403, 422, 422]),
    ("GET /v1/invitations/{id}",              [401, 401, 401, 403, 403, 401, 403, 403, 404, 404]),
    ("DELETE /v1/invitations/{id}",           [401, 401, 401, 403, 403, 401, 403, 403, 404, 404]),
    ("POST /v1/invitations/{id}/resend",      [401, 401, 401, 403, 403, 401, 403, 403, 404, 404]),
    ("POST /v1/auth/invitations/join",        [401, 401, 401, 403, 403, 401, 422, 422, 422, 422]),
    ("GET /v1/api-keys",                      [401, 401, 401, 403, 403, 401, 200, 200, 200, 200]),
    ("POST /v1/api-keys",                     [401, 401, 401, 403, 403, 401, 403, 422, 422, 422]),
    ("GET /v1/api-keys/{id}",                 [401, 401, 401, 403, 403, 401, 404, 404, 404, 404]),
    ("DELETE /v1/api-keys/{id}",              [401, 401, 401, 403, 403, 401, 404, 404, 404, 404]),
    ("POST /v1/api-keys/{id}/rotate",         [401, 401, 401, 403, 403, 401, 422, 422, 422, 422]),
    ("POST /v1/service-accounts",             [401, 401, 401, 403, 403, 401, 403, 403, 422, 422]),
    ("POST /v1/service-accounts/{id}/api-keys", [401, 401, 401, 403, 403, 401, 403, 403, 422, 422]),
    ("GET /v1/audit-events",                  [401, 401, 401, 403, 403, 401, 403, 403, 200, 200]),
    ("GET /v1/audit-events/export",           [401, 401, 401, 403, 403, 401, 403, 403, 422, 422]),
    ("GET /v1/audit-events/chain",            [401, 401, 401, 403, 403, 401, 403, 403, 200, 200]),
    ("GET /v1/auth/security-log",             [401, 401, 401, 403, 403, 401, 200, 200, 200, 200]),
    ("GET /v1/projects",                     [401, 401, 401, 403, 403, 401, 200, 200, 200, 200]),
    ("POST /v1/projects",                    [401, 401, 401, 403, 403, 401, 403, 422, 422, 422]),
    ("GET /v1/projects/{id}",                [401, 401, 401, 403, 403, 401, 404, 404, 404, 404]),
    ("PATCH /v1/projects/{id}",              [401, 401, 401, 403, 403, 401, 403, 404, 404, 404]),
    ("DELETE /v1/projects/{id}",             [401, 401, 401, 403, 403, 401, 403, 404, 404, 404]),
    ("GET /v1/projects/{id}/tasks",          [401, 401, 401, 403, 403, 401, 404, 404, 404, 404]),
    ("POST /v1/projects/{id}/tasks",         [401, 401, 401, 403, 403, 401, 403, 422, 422, 422]),
    ("GET /v1/tasks",                        [401, 401, 401, 403, 403, 401, 200, 200, 200, 200]),
    ("GET /v1/tasks/{id}",                   [401, 401, 401, 403, 403, 401, 404, 404, 404, 404]),
    ("PATCH /v1/tasks/{id}",                 [401, 401, 401, 403, 403, 401, 403, 404, 404, 404]),
    ("DELETE /v1/tasks/{id}",                [401, 401, 401, 403, 403, 401, 403, 404, 404, 404]),
    // Last, since they end what the callers before them rely on; the second finds the session ended.
    ("POST /v1/auth/logout-all",             [401, 401, 401, 403, 403, 401, 204, 204, 204, 204]),
    ("POST /v1/auth/logout",                 [401, 401, 401, 403, 403, 401, 401, 401, 401, 401]),
    ("DELETE /v1/auth/me",                    [401, 401, 401, 403, 403, 401, 401, 401, 401, 401]),
];

/// anonymous, garbage, expired, tenant's admin, scraper | viewer, member, admin, owner, owner's key
#[rustfmt::skip]
const ADMIN: &[Row<10>] = &[
    ("GET /.well-known/jwks.json",           [200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("GET /health",                          [200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("GET /health/live",                     [200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("GET /health/ping",                     [200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("GET /health/ready",                    [200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("GET /metrics",                         [401, 401, 401, 401, 200, 401, 401, 401, 401, 401]),
    ("POST /v1/auth/login",                  [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/refresh",                [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/invitations/accept",     [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/mfa/verify",             [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/mfa/totp/enrol",         [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/mfa/totp/enrol/confirm", [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/register",                   [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/email/resend",               [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/email/verify",               [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/password/forgot",            [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/password/reset",             [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/email/change/confirm",       [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/email/change/undo",          [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/not-me",                     [422, 422, 422, 422, 422, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/email/change",               [401, 401, 401, 403, 401, 422, 422, 422, 422, 422]),
    ("PATCH /v1/auth/me",                        [401, 401, 401, 403, 401, 200, 200, 200, 200, 403]),
    ("GET /v1/auth/me",                      [401, 401, 401, 403, 401, 200, 200, 200, 200, 200]),
    ("GET /v1/auth/sessions",                [401, 401, 401, 403, 401, 200, 200, 200, 200, 403]),
    ("DELETE /v1/auth/sessions/{id}",        [401, 401, 401, 403, 401, 404, 404, 404, 404, 403]),
    ("POST /v1/auth/step-up",                [401, 401, 401, 403, 401, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/password/change",        [401, 401, 401, 403, 401, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/mfa/totp/setup",         [401, 401, 401, 403, 401, 200, 200, 200, 200, 403]),
    ("POST /v1/auth/mfa/totp/confirm",       [401, 401, 401, 403, 401, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/mfa/totp/disable",       [401, 401, 401, 403, 401, 422, 422, 422, 422, 422]),
    ("POST /v1/auth/mfa/recovery-codes",     [401, 401, 401, 403, 401, 409, 409, 409, 409, 403]),
    ("DELETE /v1/auth/mfa/devices",          [401, 401, 401, 403, 401, 204, 204, 204, 204, 403]),
    ("GET /v1/settings",                     [401, 401, 401, 403, 401, 403, 403, 200, 200, 200]),
    ("PATCH /v1/settings",                   [401, 401, 401, 403, 401, 403, 403, 200, 200, 403]),
    ("GET /v1/permissions",                   [401, 401, 401, 403, 401, 403, 403, 200, 200, 200]),
    ("GET /v1/roles",                         [401, 401, 401, 403, 401, 403, 403, 200, 200, 200]),
    ("POST /v1/roles",                        [401, 401, 401, 403, 401, 403, 403, 422, 422, 422]),
    ("GET /v1/roles/{name}",                  [401, 401, 401, 403, 401, 403, 403, 404, 404, 404]),
    ("PATCH /v1/roles/{name}",                [401, 401, 401, 403, 401, 403, 403, 422, 422, 422]),
    ("DELETE /v1/roles/{name}",               [401, 401, 401, 403, 401, 403, 403, 404, 404, 404]),
    ("GET /v1/users",                         [401, 401, 401, 403, 401, 403, 403, 200, 200, 200]),
    ("GET /v1/users/stats",                   [401, 401, 401, 403, 401, 403, 403, 200, 200, 200]),
    ("POST /v1/users/import",                 [401, 401, 401, 403, 401, 403, 403, 415, 415, 415]),
    ("GET /v1/users/{id}",                    [401, 401, 401, 403, 401, 403, 403, 404, 404, 404]),
    ("PATCH /v1/users/{id}",                  [401, 401, 401, 403, 401, 403, 403, 404, 404, 404]),
    ("DELETE /v1/users/{id}",                 [401, 401, 401, 403, 401, 403, 403, 404, 404, 404]),
    ("POST /v1/users/{id}/restore",           [401, 401, 401, 403, 401, 403, 403, 404, 404, 404]),
    ("POST /v1/users/{id}/erase",             [401, 401, 401, 403, 401, 403, 403, 404, 404, 404]),
    ("POST /v1/users/{id}/revoke-sessions",   [401, 401, 401, 403, 401, 403, 403, 404, 404, 404]),
    ("GET /v1/users/{id}/lockout",            [401, 401, 401, 403, 401, 403, 403, 404, 404, 404]),
    ("POST /v1/users/{id}/unlock",            [401, 401, 401, 403, 401, 403, 403, 404, 404, 404]),
    ("GET /v1/invitations",                   [401, 401, 401, 403, 401, 403, 403, 200, 200, 200]),
    ("POST /v1/invitations",                  [401, 401, 401, 403, 401, 403, 403, 422, 422, 422]),
    ("GET /v1/invitations/{id}",              [401, 401, 401, 403, 401, 403, 403, 404, 404, 404]),
    ("DELETE /v1/invitations/{id}",           [401, 401, 401, 403, 401, 403, 403, 404, 404, 404]),
    ("POST /v1/invitations/{id}/resend",      [401, 401, 401, 403, 401, 403, 403, 404, 404, 404]),
    ("POST /v1/auth/invitations/join",        [401, 401, 401, 403, 401, 422, 422, 422, 422, 422]),
    ("GET /v1/api-keys",                      [401, 401, 401, 403, 401, 200, 200, 200, 200, 200]),
    ("POST /v1/api-keys",                     [401, 401, 401, 403, 401, 403, 422, 422, 422, 422]),
    ("GET /v1/api-keys/{id}",                 [401, 401, 401, 403, 401, 404, 404, 404, 404, 404]),
    ("DELETE /v1/api-keys/{id}",              [401, 401, 401, 403, 401, 404, 404, 404, 404, 404]),
    ("POST /v1/api-keys/{id}/rotate",         [401, 401, 401, 403, 401, 422, 422, 422, 422, 422]),
    ("POST /v1/service-accounts",             [401, 401, 401, 403, 401, 403, 403, 422, 422, 422]),
    ("POST /v1/service-accounts/{id}/api-keys", [401, 401, 401, 403, 401, 403, 403, 422, 422, 422]),
    ("GET /v1/audit-events",                  [401, 401, 401, 403, 401, 403, 403, 200, 200, 200]),
    ("GET /v1/audit-events/export",           [401, 401, 401, 403, 401, 403, 403, 422, 422, 422]),
    ("GET /v1/audit-events/chain",            [401, 401, 401, 403, 401, 403, 403, 200, 200, 200]),
    ("GET /v1/auth/security-log",             [401, 401, 401, 403, 401, 200, 200, 200, 200, 200]),
    ("GET /platform/v1/audit-events",        [401, 401, 401, 403, 401, 403, 403, 200, 200, 200]),
    ("GET /platform/v1/audit-events/export",  [401, 401, 401, 403, 401, 403, 403, 422, 422, 422]),
    ("GET /platform/v1/audit-events/chain",   [401, 401, 401, 403, 401, 403, 403, 200, 200, 200]),
    ("GET /platform/v1/fsck",                [401, 401, 401, 403, 401, 403, 403, 200, 200, 200]),
    ("GET /platform/v1/drift",               [401, 401, 401, 403, 401, 403, 403, 200, 200, 200]),
    ("POST /platform/v1/drift",              [401, 401, 401, 403, 401, 403, 403, 202, 202, 202]),
    ("GET /platform/v1/drift/sweep",         [401, 401, 401, 403, 401, 403, 403, 200, 200, 200]),
    ("GET /platform/v1/isolation",           [401, 401, 401, 403, 401, 403, 403, 422, 422, 422]),
    ("GET /platform/v1/keys",                [401, 401, 401, 403, 401, 403, 403, 200, 200, 200]),
    ("POST /platform/v1/keys/rotate",        [401, 401, 401, 403, 401, 403, 403, 422, 422, 422]),
    ("GET /platform/v1/migrations",          [401, 401, 401, 403, 401, 200, 200, 200, 200, 200]),
    ("POST /platform/v1/migrations",         [401, 401, 401, 403, 401, 403, 403, 422, 422, 422]),
    ("GET /platform/v1/operations",          [401, 401, 401, 403, 401, 200, 200, 200, 200, 200]),
    ("GET /platform/v1/operations/{id}",     [401, 401, 401, 403, 401, 404, 404, 404, 404, 404]),
    ("GET /platform/v1/operations/{id}/events", [401, 401, 401, 403, 401, 404, 404, 404, 404, 404]),
    ("POST /platform/v1/operations/{id}/retry", [401, 401, 401, 403, 401, 403, 404, 404, 404, 404]),
    ("POST /platform/v1/operations/{id}/cancel", [401, 401, 401, 403, 401, 403, 404, 404, 404, 404]),
    ("GET /platform/v1/jobs",                [401, 401, 401, 403, 401, 200, 200, 200, 200, 200]),
    ("GET /platform/v1/jobs/{id}",           [401, 401, 401, 403, 401, 404, 404, 404, 404, 404]),
    ("POST /platform/v1/jobs/{id}/retry",    [401, 401, 401, 403, 401, 403, 404, 404, 404, 404]),
    ("GET /platform/v1/plans",               [401, 401, 401, 403, 401, 200, 200, 200, 200, 200]),
    ("GET /platform/v1/rollouts",            [401, 401, 401, 403, 401, 200, 200, 200, 200, 200]),
    ("POST /platform/v1/rollouts",           [401, 401, 401, 403, 401, 403, 403, 422, 422, 422]),
    ("POST /platform/v1/rollouts/plan",      [401, 401, 401, 403, 401, 422, 422, 422, 422, 422]),
    ("GET /platform/v1/rollouts/{id}",       [401, 401, 401, 403, 401, 404, 404, 404, 404, 404]),
    ("GET /platform/v1/rollouts/{id}/tenants", [401, 401, 401, 403, 401, 404, 404, 404, 404, 404]),
    ("GET /platform/v1/rollouts/{id}/events", [401, 401, 401, 403, 401, 404, 404, 404, 404, 404]),
    ("POST /platform/v1/rollouts/{id}/pause", [401, 401, 401, 403, 401, 403, 403, 404, 404, 404]),
    ("POST /platform/v1/rollouts/{id}/resume", [401, 401, 401, 403, 401, 403, 403, 404, 404, 404]),
    ("POST /platform/v1/rollouts/{id}/abort", [401, 401, 401, 403, 401, 403, 403, 404, 404, 404]),
    ("POST /platform/v1/rollouts/{id}/retry", [401, 401, 401, 403, 401, 403, 403, 422, 422, 422]),
    ("POST /platform/v1/tenants/{id}/rehearse", [401, 401, 401, 403, 401, 403, 403, 422, 422, 422]),
    ("GET /platform/v1/tenants/{id}/rehearsal", [401, 401, 401, 403, 401, 404, 404, 404, 404, 404]),
    ("POST /platform/v1/rollouts/{id}/undo", [401, 401, 401, 403, 401, 403, 403, 422, 422, 422]),
    ("POST /platform/v1/rollouts/{id}/skip", [401, 401, 401, 403, 401, 403, 403, 422, 422, 422]),
    ("GET /platform/v1/servers",             [401, 401, 401, 403, 401, 200, 200, 200, 200, 200]),
    ("POST /platform/v1/servers",            [401, 401, 401, 403, 401, 403, 403, 422, 422, 422]),
    ("GET /platform/v1/servers/{id}",        [401, 401, 401, 403, 401, 404, 404, 404, 404, 404]),
    ("GET /platform/v1/servers/{id}/preflight", [401, 401, 401, 403, 401, 404, 404, 404, 404, 404]),
    ("PATCH /platform/v1/servers/{id}",      [401, 401, 401, 403, 401, 403, 403, 404, 404, 404]),
    ("POST /platform/v1/servers/{id}/cordon", [401, 401, 401, 403, 401, 403, 403, 404, 404, 404]),
    ("POST /platform/v1/servers/{id}/uncordon", [401, 401, 401, 403, 401, 403, 403, 404, 404, 404]),
    ("POST /platform/v1/servers/{id}/drain", [401, 401, 401, 403, 401, 403, 403, 404, 404, 404]),
    ("POST /platform/v1/servers/{id}/rotate-credentials", [401, 401, 401, 403, 401, 403, 403, 422, 422, 422]),
    ("GET /platform/v1/tenants",             [401, 401, 401, 403, 401, 200, 200, 200, 200, 200]),
    ("POST /platform/v1/tenants",            [401, 401, 401, 403, 401, 403, 422, 422, 422, 422]),
    ("GET /platform/v1/tenants/{id}",        [401, 401, 401, 403, 401, 404, 404, 404, 404, 404]),
    ("POST /platform/v1/tenants/{id}/archive", [401, 401, 401, 403, 401, 403, 404, 404, 404, 404]),
    ("GET /platform/v1/tenants/{id}/archives", [401, 401, 401, 403, 401, 404, 404, 404, 404, 404]),
    ("POST /platform/v1/tenants/{id}/archives/export", [401, 401, 401, 403, 401, 403, 403, 404, 404, 404]),
    ("POST /platform/v1/tenants/{id}/users/import", [401, 401, 401, 403, 401, 403, 403, 415, 415, 415]),
    ("POST /platform/v1/tenants/{id}/clone", [401, 401, 401, 403, 401, 403, 422, 422, 422, 422]),
    ("POST /platform/v1/adoptions",          [401, 401, 401, 403, 401, 403, 422, 422, 422, 422]),
    ("POST /platform/v1/tenants/{id}/restore", [401, 401, 401, 403, 401, 403, 404, 404, 404, 404]),
    ("PATCH /platform/v1/tenants/{id}",      [401, 401, 401, 403, 401, 403, 404, 404, 404, 404]),
    ("POST /platform/v1/tenants/{id}/suspend", [401, 401, 401, 403, 401, 403, 422, 422, 422, 422]),
    ("POST /platform/v1/tenants/{id}/resume", [401, 401, 401, 403, 401, 403, 404, 404, 404, 404]),
    ("POST /platform/v1/tenants/{id}/act-as", [401, 401, 401, 403, 401, 403, 422, 422, 422, 422]),
    ("DELETE /platform/v1/visits/{id}",      [401, 401, 401, 403, 401, 403, 404, 404, 404, 404]),
    ("POST /platform/v1/tenants/{id}/delete", [401, 401, 401, 403, 401, 403, 403, 422, 422, 422]),
    ("POST /platform/v1/tenants/{id}/undelete", [401, 401, 401, 403, 401, 403, 403, 404, 404, 404]),
    ("GET /platform/v1/tenants/{id}/certificate", [401, 401, 401, 403, 401, 404, 404, 404, 404, 404]),
    ("POST /platform/v1/tenants/{id}/rotate-signing-keys", [401, 401, 401, 403, 401, 403, 422, 422, 422, 422]),
    ("POST /platform/v1/tenants/{id}/rotate-credentials", [401, 401, 401, 403, 401, 403, 404, 404, 404, 404]),
    ("POST /v1/auth/logout-all",             [401, 401, 401, 403, 401, 204, 204, 204, 204, 403]),
    ("POST /v1/auth/logout",                 [401, 401, 401, 403, 401, 401, 401, 401, 401, 403]),
    ("DELETE /v1/auth/me",                    [401, 401, 401, 403, 401, 401, 401, 401, 401, 403]),
];

/// What stands for `{id}`: of the right kind, and nobody's.
fn concrete(path: &str) -> String {
    let kinds = [
        ("projects", "prj"),
        ("tasks", "tsk"),
        ("operations", "op"),
        ("jobs", "job"),
        ("servers", "srv"),
        ("tenants", "ten"),
        ("rollouts", "rol"),
        ("sessions", "ses"),
        ("users", "usr"),
        ("invitations", "inv"),
        ("api-keys", "key"),
        ("service-accounts", "usr"),
        ("visits", "vis"),
    ];
    let kind = kinds.iter().find(|(name, _)| path.contains(&format!("/{name}/{{id}}"))).map_or("", |(_, kind)| kind);
    path.replace("{id}", &format!("{kind}_01900000000070008000000000000000")).replace("{name}", "nobodys-role")
}

/// What a listener's document says of a route.
struct Documented {
    /// Whether it takes a body.
    takes_body: bool,
    /// Whether anybody may call it.
    is_open: bool,
}

/// Everything that the listener's document describes, by `METHOD /path`.
async fn documented(anonymous: &Anonymous) -> BTreeMap<String, Documented> {
    let document = anonymous.get("/openapi.json").await.expect(200);
    let mut routes = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(key, _)| is_method(key)) {
            let takes_body = operation.get("requestBody").is_some();
            let is_open = operation.get("security").is_some_and(|required| *required == json!([{}]));
            routes.insert(format!("{} {path}", method.to_uppercase()), Documented { takes_body, is_open });
        }
    }
    routes
}

fn is_method(key: &str) -> bool {
    ["get", "put", "post", "patch", "delete", "head", "options", "trace"].contains(&key)
}

async fn status(caller: &Caller, route: &str, takes_body: bool) -> u16 {
    let (method, path) = route.split_once(' ').unwrap();
    // The check itself takes long; whoever may run it is told that the parameter is wrong.
    let path = if path == "/platform/v1/isolation" { format!("{path}?after=nobody") } else { concrete(path) };
    let method: Method = method.parse().unwrap();
    let request = caller.request(method.clone(), &path);
    let body = if method == Method::POST { r#"{"nothing":1}"# } else { "{}" };
    let request = if takes_body { request.header("content-type", "application/json").body(body) } else { request };
    Answer::to(request).await.status()
}

async fn walk<const N: usize>(rows: &[Row<N>], callers: &[(&str, Caller); N], anonymous: &Anonymous) {
    let listed: BTreeSet<_> = rows.iter().map(|(route, _)| (*route).to_owned()).collect();
    let documented = documented(anonymous).await;
    let without_row: Vec<_> = documented.keys().filter(|route| !listed.contains(*route)).collect();
    assert!(without_row.is_empty(), "routes without a row: {without_row:?}");
    let without_route: Vec<_> = listed.iter().filter(|route| !documented.contains_key(*route)).collect();
    assert!(without_route.is_empty(), "rows without a route: {without_route:?}");
    let mut wrong = BTreeMap::new();
    for (route, expected) in rows {
        for ((name, caller), expected) in callers.iter().zip(expected) {
            let status = status(caller, route, documented[*route].takes_body).await;
            if status != *expected {
                wrong.insert(format!("{route} as {name}"), format!("{status}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn garbage(caller: &Caller) -> Caller {
    caller.with(&SecretString::from("not.a.token"))
}

#[tokio::test]
async fn every_route_of_the_public_listener_lets_in_whom_it_should() {
    let fleet = fleet::shared().await;
    let (tenant, foreign) = (fleet.tenant().await, fleet.tenant().await);
    let anonymous = tenant.anonymous();
    let at_tenant = |caller: &Caller| anonymous.with(caller.bearer());
    let callers = [
        ("anonymous", (*anonymous).clone()),
        ("garbage", garbage(&anonymous)),
        ("expired", anonymous.with(&fleet.expired(tenant.admin.bearer()).await)),
        ("foreign admin", at_tenant(&foreign.admin)),
        ("operator", at_tenant(&*fleet.signed_in_operator().await)),
        ("operator's key", at_tenant(&fleet.operator())),
        ("viewer", at_tenant(&*tenant.member("viewer").await)),
        ("member", at_tenant(&*tenant.member("member").await)),
        ("admin", at_tenant(&*tenant.member("admin").await)),
        ("owner", at_tenant(&tenant.admin)),
    ];
    walk(PUBLIC, &callers, &anonymous).await;
}

async fn operator(fleet: &Fleet, role: &str) -> Caller {
    (*fleet.operator_with_role(role).await).clone()
}

#[tokio::test]
async fn every_route_of_the_admin_listener_lets_in_whom_it_should() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let anonymous = fleet.replica.admin_anonymous();
    let owner = operator(fleet, "owner").await;
    let callers = [
        ("anonymous", (*anonymous).clone()),
        ("garbage", garbage(&anonymous)),
        ("expired", anonymous.with(&fleet.expired(owner.bearer()).await)),
        ("tenant's admin", anonymous.with(tenant.admin.bearer())),
        ("scraper", anonymous.with(&METRICS_TOKEN.into())),
        ("viewer", operator(fleet, "viewer").await),
        ("member", operator(fleet, "member").await),
        ("admin", operator(fleet, "admin").await),
        ("owner", owner),
        ("owner's key", anonymous.with(fleet.operator().bearer())),
    ];
    walk(ADMIN, &callers, &anonymous).await;
}

/// Sends every route that may change something a field that none of them knows. Those who may not call it are told that
/// first.
async fn assert_nothing_is_ignored(anonymous: &Anonymous, caller: &Caller) {
    let mut wrong = BTreeMap::new();
    let documented = documented(anonymous).await;
    let mut changing: Vec<_> = documented.iter().filter(|(route, _)| !route.starts_with("GET ")).collect();
    // Last, since one that ignored the field would sign the caller out.
    changing.sort_by_key(|(route, _)| route.contains("/logout"));
    assert!(changing.iter().any(|(_, route)| !route.takes_body), "there is nothing to be walked");
    for (route, Documented { is_open, .. }) in changing {
        let (method, path) = route.split_once(' ').unwrap();
        let surprise = async |caller: &Caller| {
            let request = caller.request(method.parse().unwrap(), &concrete(path));
            Answer::to(request.header("content-type", "application/json").body(r#"{"surprise":1}"#)).await
        };
        let refused = surprise(anonymous).await.status();
        if !is_open && refused != 401 {
            wrong.insert(format!("{route} as anonymous"), refused.to_string());
        }
        let answer = surprise(caller).await;
        // What takes lines refuses the whole body: tests/imports.rs looks at a line.
        let takes_lines = path.ends_with("/users/import") && answer.status() == 415;
        let is_told = answer.status() == 422 && answer.names("surprise", "unknown_field");
        if !(takes_lines || is_told) {
            wrong.insert(route.clone(), format!("{}: {}", answer.status(), answer.text()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn no_route_ignores_a_field_that_it_does_not_know() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    assert_nothing_is_ignored(&tenant.anonymous(), &tenant.admin).await;
    assert_nothing_is_ignored(&fleet.replica.admin_anonymous(), &operator(fleet, "owner").await).await;
}
