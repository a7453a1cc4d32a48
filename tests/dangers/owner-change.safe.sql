-- finds: nothing
CREATE SCHEMA mine;
