-- finds: default-privileges:2
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT ON TABLES FROM freehold_tenant;
