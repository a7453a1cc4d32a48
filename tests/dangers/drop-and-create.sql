-- finds: contract:3, drop-and-create:4
-- freehold:allow drop-table: it is made anew below
DROP TABLE orders;
CREATE TABLE orders (id uuid PRIMARY KEY);
