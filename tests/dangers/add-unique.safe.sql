-- finds: nothing
ALTER TABLE orders ADD CONSTRAINT orders_buyer_key UNIQUE USING INDEX orders_buyer_key;
