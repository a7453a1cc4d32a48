-- finds: nothing
CREATE TABLE parts (id bigint PRIMARY KEY, order_id bigint, amount int);
