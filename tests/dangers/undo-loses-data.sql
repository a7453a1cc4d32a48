-- finds: undo-loses-data:5
-- file: V1__a.sql
ALTER TABLE orders ADD COLUMN note text;
-- file: U1__a.sql
ALTER TABLE orders DROP COLUMN note;
