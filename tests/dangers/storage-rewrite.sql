-- finds: storage-rewrite:2, storage-rewrite:3, storage-rewrite:4, storage-rewrite:5
ALTER TABLE orders SET UNLOGGED;
ALTER TABLE items SET TABLESPACE fast;
ALTER TABLE parts SET ACCESS METHOD heap;
ALTER INDEX parts_idx SET TABLESPACE fast;
