-- People and how they prove who they are, in the tenant's own database. The platform tenant holds the
-- operators in the same tables, so identity is written once. Every statement names the schema: what a product
-- calls its own tables is its own matter.

CREATE TABLE freehold.roles (
    name        text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_-]{1,62}$'),
    -- What the role may do, as resource:action. Built-in roles take theirs from the program.
    permissions text[] NOT NULL DEFAULT '{}',
    built_in    boolean NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL DEFAULT now()
);
INSERT INTO freehold.roles (name, built_in) VALUES ('owner', true), ('admin', true), ('member', true), ('viewer', true);

CREATE TABLE freehold.users (
    id                uuid PRIMARY KEY,
    email             text NOT NULL CONSTRAINT users_email_key UNIQUE CHECK (email = lower(email)),
    name              text NOT NULL,
    role              text NOT NULL CONSTRAINT users_role_fkey REFERENCES freehold.roles (name),
    active            boolean NOT NULL DEFAULT true,
    email_verified_at timestamptz,
    version           bigint NOT NULL DEFAULT 1,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX users_role_idx ON freehold.users (role);

-- What people prove who they are with, a row for each way. Kept apart from users, so that a query for people cannot fetch
-- a secret by accident. A kind that comes brings a CHECK of its data, and widens that of the kinds; no column is added.
CREATE TABLE freehold.credentials (
    id         uuid PRIMARY KEY,
    user_id    uuid NOT NULL REFERENCES freehold.users (id) ON DELETE CASCADE,
    kind       text NOT NULL CONSTRAINT credentials_kind_check CHECK (kind IN ('password')),
    -- Which one of its kind it is; empty where a person has at most one.
    handle     text NOT NULL DEFAULT '' CHECK (octet_length(handle) <= 2048),
    -- What a proof is held against, by kind: digests and keys, never what somebody types.
    data       jsonb NOT NULL CHECK (jsonb_typeof(data) = 'object'),
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT credentials_user_id_kind_handle_key UNIQUE (user_id, kind, handle),
    CONSTRAINT credentials_password_check
        CHECK (kind <> 'password' OR handle = '' AND (data ->> 'hash' LIKE '$argon2id$%') IS TRUE)
);

CREATE TABLE freehold.sessions (
    id              uuid PRIMARY KEY,
    user_id         uuid NOT NULL REFERENCES freehold.users (id) ON DELETE CASCADE,
    -- Each refresh token is derived from the one before it with this key: a parallel use can be given the
    -- same successor although only hashes of tokens are stored.
    rotation_key    bytea NOT NULL CHECK (length(rotation_key) = 32),
    ip              inet,
    user_agent      text CHECK (length(user_agent) <= 512),
    created_at      timestamptz NOT NULL DEFAULT now(),
    last_used_at    timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz NOT NULL,
    revoked_at      timestamptz,
    revoked_because text,
    CHECK ((revoked_at IS NULL) = (revoked_because IS NULL))
);
CREATE INDEX sessions_user_id_idx ON freehold.sessions (user_id);

CREATE TABLE freehold.refresh_tokens (
    token_hash  bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    session_id  uuid NOT NULL REFERENCES freehold.sessions (id) ON DELETE CASCADE,
    issued_at   timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    used_at     timestamptz
);
CREATE INDEX refresh_tokens_session_id_idx ON freehold.refresh_tokens (session_id);

CREATE TABLE freehold.invitations (
    id          uuid PRIMARY KEY,
    email       text NOT NULL CHECK (email = lower(email)),
    role        text NOT NULL REFERENCES freehold.roles (name),
    token_hash  bytea NOT NULL CONSTRAINT invitations_token_hash_key UNIQUE CHECK (length(token_hash) = 32),
    invited_by  text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    accepted_at timestamptz,
    revoked_at  timestamptz
);
CREATE INDEX invitations_role_idx ON freehold.invitations (role);

CREATE TABLE freehold.api_keys (
    id                uuid PRIMARY KEY,
    name              text NOT NULL,
    secret_hash       bytea NOT NULL CHECK (length(secret_hash) = 32),
    user_id           uuid NOT NULL REFERENCES freehold.users (id) ON DELETE CASCADE,
    scopes            text[] NOT NULL,
    allowed_addresses cidr[],
    created_at        timestamptz NOT NULL DEFAULT now(),
    expires_at        timestamptz,
    last_used_at      timestamptz,
    revoked_at        timestamptz
);
CREATE INDEX api_keys_user_id_idx ON freehold.api_keys (user_id);

CREATE TABLE freehold.audit_events (
    id         uuid PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    actor      text NOT NULL,
    action     text NOT NULL,
    target     text,
    ip         inet,
    user_agent text,
    request_id text,
    details    jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_events_at_idx ON freehold.audit_events (at DESC, id DESC);
-- What was written stays as it is: a tenant's own role adds lines and reads them. Only the owner takes old ones away.
REVOKE UPDATE, DELETE ON freehold.audit_events FROM freehold_tenant;

CREATE TABLE freehold.settings (
    name       text PRIMARY KEY,
    value      jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO freehold.settings (name, value) VALUES ('registration', '"invitation"'), ('require_verified_email', 'true');

-- Answers to POSTs that create, so that a repeated request gets the first one's answer.
CREATE TABLE freehold.idempotency_keys (
    principal    text NOT NULL,
    route        text NOT NULL,
    key          text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    request_hash bytea NOT NULL CHECK (length(request_hash) = 32),
    resource_id  uuid NOT NULL,
    response     jsonb,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (principal, route, key)
);
CREATE INDEX idempotency_keys_created_at_idx ON freehold.idempotency_keys (created_at);
