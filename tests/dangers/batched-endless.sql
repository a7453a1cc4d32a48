-- finds: batched-endless:3, batched-statement:3
-- freehold:batched
UPDATE orders SET state = 'old';
