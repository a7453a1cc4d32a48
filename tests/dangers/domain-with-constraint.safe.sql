-- finds: nothing
CREATE DOMAIN email AS text;
