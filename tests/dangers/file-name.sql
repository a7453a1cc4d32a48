-- finds: file-name:3, file-name:5, file-name:7, file-name:9
-- file: v1__orders.sql
CREATE TABLE orders (id uuid PRIMARY KEY, buyer text, total numeric(10,2), state text NOT NULL DEFAULT 'new');
-- file: V2_items.sql
SELECT 1;
-- file: V03__more.sql
SELECT 1;
-- file: V1__Upper.sql
SELECT 1;
