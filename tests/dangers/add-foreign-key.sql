-- finds: add-foreign-key:2, add-foreign-key:3, foreign-key-without-index:2, foreign-key-without-index:3
ALTER TABLE orders ADD CONSTRAINT orders_buyer_fkey FOREIGN KEY (buyer_id) REFERENCES buyers (id);
ALTER TABLE items ADD COLUMN order_id uuid REFERENCES orders (id);
CREATE TABLE done (id uuid PRIMARY KEY);
