-- finds: batched-endless:3
-- freehold:batched
INSERT INTO archive (id) SELECT id FROM orders LIMIT $1;
