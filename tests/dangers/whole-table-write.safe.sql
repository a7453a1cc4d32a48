-- finds: nothing
-- freehold:batched
UPDATE orders SET state = 'old' WHERE id IN (SELECT id FROM orders WHERE state IS NULL LIMIT $1);
