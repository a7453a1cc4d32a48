-- finds: nothing
CREATE TABLE scratch (id uuid PRIMARY KEY);
TRUNCATE scratch;
