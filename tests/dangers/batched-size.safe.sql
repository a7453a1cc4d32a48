-- finds: nothing
-- freehold:batched
MERGE INTO totals USING (SELECT id FROM orders WHERE total IS NULL LIMIT $1) o ON totals.id = o.id WHEN NOT MATCHED THEN INSERT (id) VALUES (o.id);
