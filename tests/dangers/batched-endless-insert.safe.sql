-- finds: nothing
-- freehold:batched
INSERT INTO archive (id) SELECT id FROM orders WHERE id NOT IN (SELECT id FROM archive) LIMIT $1;
