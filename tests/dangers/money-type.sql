-- finds: money-type:2
ALTER TABLE orders ADD COLUMN price money;
