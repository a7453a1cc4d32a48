-- finds: owner-change:2, owner-change:3, owner-change:4, owner-change:5
ALTER TABLE orders OWNER TO postgres;
ALTER DATABASE acme OWNER TO postgres;
ALTER FUNCTION f() OWNER TO postgres;
CREATE SCHEMA mine AUTHORIZATION postgres;
