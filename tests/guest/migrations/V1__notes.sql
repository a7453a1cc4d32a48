CREATE TABLE notes (
    id      uuid PRIMARY KEY,
    text    text NOT NULL CHECK (length(text) BETWEEN 1 AND 200),
    user_id uuid REFERENCES freehold.users (id) ON DELETE SET NULL
);
CREATE INDEX notes_user_id_idx ON notes (user_id);
