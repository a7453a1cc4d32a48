-- finds: whole-table-write:2, whole-table-write:3
UPDATE orders SET state = 'old' WHERE true;
DELETE FROM items WHERE 1 = 1;
