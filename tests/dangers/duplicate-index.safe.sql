-- finds: nothing
CREATE TABLE parts (id uuid PRIMARY KEY, a text, b text);
CREATE INDEX parts_ab_idx ON parts (a, b);
CREATE INDEX parts_b_idx ON parts (b);
CREATE INDEX parts_some_idx ON parts (a) WHERE b IS NULL;
