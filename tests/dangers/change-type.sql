-- finds: change-type:2, change-type:3
ALTER TABLE orders ALTER COLUMN total TYPE bigint;
ALTER TABLE items ALTER COLUMN name TYPE text;
