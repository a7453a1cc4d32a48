-- finds: nothing
-- file: V1__orders.sql
CREATE TABLE orders (id uuid PRIMARY KEY, buyer text, total numeric(10,2), state text NOT NULL DEFAULT 'new');
