-- finds: nothing
-- freehold:contract oldest=1
-- freehold:allow drop-column: no release since 2.4 reads it
ALTER TABLE orders DROP COLUMN total;
