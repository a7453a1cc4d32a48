-- finds: nothing
-- file: V1__step.sql
CREATE TABLE parts (id uuid PRIMARY KEY, name text, price numeric(10,2));
-- file: V2__step.sql
ALTER TABLE parts ALTER COLUMN price TYPE numeric(12,2), ALTER COLUMN name TYPE varchar;
