-- finds: whole-table-write:2, whole-table-write:3, whole-table-write:4
UPDATE orders SET state = 'old';
DELETE FROM items;
WITH gone AS (DELETE FROM parts RETURNING id) SELECT count(*) FROM gone;
