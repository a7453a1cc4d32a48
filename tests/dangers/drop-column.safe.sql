-- finds: nothing
-- freehold:allow drop-column: no release since 2.4 reads it
ALTER TABLE orders DROP COLUMN total;
