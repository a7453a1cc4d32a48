-- finds: index-of-many-columns:3
CREATE TABLE parts (id uuid PRIMARY KEY, a text, b text, c text, d text);
CREATE INDEX parts_idx ON parts (a, b, c, d);
