-- finds: contract:2, drop-table:2, drop-table:3
DROP TABLE orders;
DROP TABLE IF EXISTS items;
