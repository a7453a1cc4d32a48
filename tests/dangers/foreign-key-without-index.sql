-- finds: foreign-key-without-index:2
CREATE TABLE items (id uuid PRIMARY KEY, order_id uuid REFERENCES orders (id));
