-- finds: contract:2, rename:2, rename:3, rename:4, rename:5, rename:6, rename:7, rename:8, rename:9
ALTER TABLE orders RENAME COLUMN buyer TO customer;
ALTER TABLE items RENAME TO positions;
ALTER TYPE mood RENAME VALUE 'sad' TO 'blue';
ALTER SCHEMA billing RENAME TO money;
ALTER TABLE parts SET SCHEMA money;
ALTER VIEW buyers RENAME TO customers;
ALTER TABLE pages RENAME CONSTRAINT a TO b;
ALTER INDEX orders_buyer_idx RENAME TO orders_customer_idx;
