-- finds: nothing
CREATE TABLE nicknames (
    user_id uuid PRIMARY KEY REFERENCES freehold.users (id) ON DELETE CASCADE,
    nickname text NOT NULL
);
INSERT INTO nicknames SELECT id, name FROM freehold.users WHERE active;
CREATE POLICY own ON nicknames USING (EXISTS (SELECT FROM freehold.users u WHERE u.id = user_id));
CREATE RULE kept AS ON DELETE TO nicknames DO ALSO INSERT INTO nicknames SELECT id, name FROM freehold.users WHERE false;
