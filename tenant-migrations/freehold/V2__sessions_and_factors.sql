-- What sessions remember of proofs, and what people prove who they are with besides a password.

-- When a session last proved that its user is there. NULL: when it began.
ALTER TABLE freehold.sessions ADD COLUMN proved_at timestamptz;

-- When an access token was first shown that was issued with this refresh token: then its holder has both.
ALTER TABLE freehold.refresh_tokens ADD COLUMN confirmed_at timestamptz;

-- freehold:allow drop-constraint: the same statement brings it back, with room for more
-- freehold:allow add-check: a tenant has a row for each person, and the first check lets in more than the one before
ALTER TABLE freehold.credentials
    DROP CONSTRAINT credentials_kind_check,
    ADD CONSTRAINT credentials_kind_check
        CHECK (kind IN ('password', 'former_password', 'totp', 'recovery_code', 'trusted_device')),
    ADD CONSTRAINT credentials_former_password_check
        CHECK (kind <> 'former_password' OR (data ->> 'hash' LIKE '$argon2id$%') IS TRUE),
    -- The one with the handle 'new' counts when its owner has shown a code of it.
    ADD CONSTRAINT credentials_totp_check CHECK (kind <> 'totp' OR handle IN ('', 'new')
        AND (jsonb_typeof(data -> 'seed') = 'string' AND jsonb_typeof(data -> 'last_step') = 'number') IS TRUE),
    ADD CONSTRAINT credentials_recovery_code_check
        CHECK (kind <> 'recovery_code' OR (data ->> 'digest' ~ '^[0-9a-f]{64}$') IS TRUE),
    -- The handle is the digest of what the device shows.
    ADD CONSTRAINT credentials_trusted_device_check CHECK (kind <> 'trusted_device'
        OR handle ~ '^[0-9a-f]{64}$' AND (jsonb_typeof(data -> 'expires_at') = 'string') IS TRUE);

-- Sign-ins whose password was right and that need one more step: a code, or an authenticator app to be set up.
CREATE TABLE freehold.sign_in_steps (
    token_hash bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    user_id    uuid NOT NULL REFERENCES freehold.users (id) ON DELETE CASCADE,
    -- A token of one step opens no other.
    purpose    text NOT NULL CHECK (purpose IN ('code', 'enrolment')),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX sign_in_steps_user_id_idx ON freehold.sign_in_steps (user_id);
