-- finds: add-unique:2, add-unique:3
ALTER TABLE orders ADD CONSTRAINT orders_buyer_key UNIQUE (buyer);
ALTER TABLE items ADD COLUMN code text UNIQUE;
