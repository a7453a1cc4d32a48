-- finds: batched-statement:3
-- freehold:batched
DELETE FROM orders WHERE state = 'old';
