-- finds: change-type:5
-- file: V1__step.sql
CREATE TABLE parts (id uuid PRIMARY KEY, price numeric(10,2) CHECK (price > 0));
-- file: V2__step.sql
ALTER TABLE parts ALTER COLUMN price TYPE numeric(12,2);
