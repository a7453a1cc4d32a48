-- What is mailed to people so that they prove an address, or take something back. Only what is added: a release from
-- before goes on as it did.

CREATE TABLE freehold.account_tokens (
    token_hash    bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    -- A token of one purpose is nothing for another.
    purpose       text NOT NULL
        CHECK (purpose IN ('verification', 'password_reset', 'email_change', 'email_undo', 'email_taken',
                           'not_me')),
    -- Whose account it is about. Only a registration may be about none: its user comes when the address is proven.
    user_id       uuid REFERENCES freehold.users (id) ON DELETE CASCADE,
    -- The address that it proves, which it was mailed to.
    email         text NOT NULL CHECK (email = lower(email)),
    -- What a registration asks for.
    password_hash text CHECK (password_hash LIKE '$argon2id$%'),
    name          text,
    -- Where it was asked for.
    ip            inet,
    -- Which session asked for it: a change of address ends with it.
    session_id    uuid,
    -- Whether somebody else wanted to register with the address as well: then nobody knows whose password it is.
    contested     boolean NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    -- When it was used, or became void.
    used_at       timestamptz,
    CHECK (purpose = 'verification' OR user_id IS NOT NULL)
);
CREATE INDEX account_tokens_user_id_idx ON freehold.account_tokens (user_id);
CREATE INDEX account_tokens_email_idx ON freehold.account_tokens (email, purpose);
CREATE INDEX account_tokens_expires_at_idx ON freehold.account_tokens (expires_at);
