-- finds: no-transaction-needless:3
-- freehold:no-transaction
ALTER TABLE orders ADD COLUMN note text;
