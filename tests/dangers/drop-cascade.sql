-- finds: contract:3, drop-cascade:3, drop-cascade:5
-- freehold:allow drop-table: no release since 2.4 reads it
DROP TABLE orders CASCADE;
-- freehold:allow drop-column: no release since 2.4 reads it
ALTER TABLE items DROP COLUMN name CASCADE;
