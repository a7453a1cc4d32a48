-- finds: nothing
-- file: V1__a.sql
ALTER TABLE orders ALTER COLUMN note SET DEFAULT 'a';
-- file: U1__a.sql
ALTER TABLE orders ALTER COLUMN note SET DEFAULT '';
