-- finds: nothing
ALTER TABLE orders ADD COLUMN token uuid;
-- freehold:allow alter-table-again: one sets the default for new rows only
ALTER TABLE orders ALTER COLUMN token SET DEFAULT gen_random_uuid();
