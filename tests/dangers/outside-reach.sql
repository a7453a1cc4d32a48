-- finds: outside-reach:2, outside-reach:3, outside-reach:4, outside-reach:5, outside-reach:6
CREATE PUBLICATION p FOR ALL TABLES;
CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw;
CREATE EVENT TRIGGER t ON ddl_command_end EXECUTE FUNCTION f();
UPDATE pg_catalog.pg_class SET relname = 'x' WHERE oid = 1;
CREATE USER MAPPING FOR CURRENT_USER SERVER s;
