-- finds: add-check:2, add-check:3
ALTER TABLE orders ADD CONSTRAINT total_check CHECK (total > 0);
ALTER TABLE items ADD COLUMN amount bigint CHECK (amount > 0);
