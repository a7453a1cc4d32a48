-- finds: duplicate-index:4
CREATE TABLE parts (id uuid PRIMARY KEY, a text, b text);
CREATE INDEX parts_ab_idx ON parts (a, b);
CREATE INDEX parts_a_idx ON parts (a);
