-- finds: add-primary-key:9
-- file: V1__step.sql
CREATE TABLE parts (id uuid, name text, CONSTRAINT parts_key PRIMARY KEY (name));
-- file: V2__step.sql
-- freehold:no-transaction
-- freehold:allow unique-index-on-data: the program makes each id once
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS parts_pkey ON parts (id);
-- file: V3__step.sql
ALTER TABLE parts ADD PRIMARY KEY USING INDEX parts_pkey;
