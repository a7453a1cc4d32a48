-- finds: copy-file:2, copy-file:3
COPY orders FROM '/etc/passwd';
COPY orders TO '/tmp/orders.csv';
