-- finds: batched-statement:4
-- freehold:batched
UPDATE orders SET state = 'old' WHERE id IN (SELECT id FROM orders WHERE state = 'new' LIMIT $1);
SELECT 1;
