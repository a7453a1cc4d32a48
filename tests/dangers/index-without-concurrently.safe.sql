-- finds: nothing
CREATE TABLE parts (id uuid PRIMARY KEY, name text);
CREATE INDEX parts_name_idx ON parts (name);
