-- finds: database-setting:2, database-setting:3, database-setting:4
ALTER DATABASE acme SET timezone = 'UTC';
ALTER ROLE freehold_tenant SET search_path = other;
ALTER USER freehold_tenant RESET ALL;
