-- finds: lock-table:2
LOCK TABLE orders IN ACCESS EXCLUSIVE MODE;
