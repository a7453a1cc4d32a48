-- finds: volatile-default:2
ALTER TABLE orders ADD COLUMN luck double precision DEFAULT random();
