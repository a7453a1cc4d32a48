-- finds: nothing
CREATE TABLE items (id uuid PRIMARY KEY, order_id uuid REFERENCES orders (id));
CREATE INDEX items_order_id_idx ON items (order_id);
