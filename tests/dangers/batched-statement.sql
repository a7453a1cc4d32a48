-- finds: batched-statement:3
-- freehold:batched
ALTER TABLE orders ADD COLUMN note text;
