-- finds: nothing
CREATE TABLE parts (id uuid, name text);
ALTER TABLE parts ADD PRIMARY KEY (id);
