-- finds: nothing
CREATE TABLE nicknames (
    user_id uuid PRIMARY KEY REFERENCES freehold.users (id) ON DELETE CASCADE,
    nickname text NOT NULL
);
INSERT INTO nicknames SELECT id, name FROM freehold.users WHERE active;
