-- finds: char-type:2, char-type:2
ALTER TABLE orders ADD COLUMN country char(2), ADD COLUMN kind character(3);
