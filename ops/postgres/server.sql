-- What Freehold needs on a PostgreSQL server that holds tenant databases. Run once by a superuser, connected to
-- the database postgres; running it again changes nothing. The role gets its password from whoever runs this.

-- Administers tenants' databases and roles. Never a superuser.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'freehold_admin') THEN
        CREATE ROLE freehold_admin LOGIN CREATEDB CREATEROLE;
    END IF;
END
$$;

-- Only their owner can close these two, and every role of the server may enter them otherwise.
REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE postgres, template1 TO freehold_admin;
