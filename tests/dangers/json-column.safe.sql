-- finds: nothing
ALTER TABLE orders ADD COLUMN details jsonb;
