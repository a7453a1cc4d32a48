-- finds: nothing
CREATE TABLE scratch (id uuid PRIMARY KEY);
DROP TABLE scratch;
