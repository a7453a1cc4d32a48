-- Attempts to sign in are counted here, where every replica counts exactly, and devices are known that signed in before.

-- What is counted by: an account's name, a device that is known, a client's network; and by that the tokens that are shown,
-- and the mails that are asked for. Only digests: nobody's name is here
-- who is no user, and nobody's address.
CREATE TABLE freehold.sign_in_attempts (
    subject      bytea PRIMARY KEY CHECK (length(subject) = 32),
    kind         text NOT NULL CHECK (kind IN ('account', 'device', 'address', 'network', 'token', 'mail')),
    -- Those that failed, and those that are under way.
    tries        integer NOT NULL DEFAULT 0 CHECK (tries >= 0),
    last_at      timestamptz NOT NULL DEFAULT now(),
    -- When all of it is forgotten.
    ends_at      timestamptz NOT NULL,
    -- The accounts that were tried in vain from this network: a digest of each, as many as are needed to judge it.
    names        bytea[] NOT NULL DEFAULT '{}',
    -- Until when a network is refused that has tried too many.
    barred_until timestamptz
);
CREATE INDEX sign_in_attempts_ends_at_idx ON freehold.sign_in_attempts (ends_at);

-- freehold:allow drop-constraint: the same statement brings it back, with room for more
-- freehold:allow add-check: a tenant has a row for each person, and the first check lets in more than the one before
ALTER TABLE freehold.credentials
    DROP CONSTRAINT credentials_kind_check,
    ADD CONSTRAINT credentials_kind_check
        CHECK (kind IN ('password', 'former_password', 'totp', 'recovery_code', 'trusted_device', 'known_device')),
    -- The handle is the digest of what the device shows. It may be trusted to show no code, for a shorter time.
    ADD CONSTRAINT credentials_known_device_check CHECK (kind <> 'known_device'
        OR handle ~ '^[0-9a-f]{64}$' AND (jsonb_typeof(data -> 'expires_at') = 'string') IS TRUE);
