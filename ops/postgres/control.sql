-- What Freehold needs on the PostgreSQL server that holds its control database, besides server.sql. Run once by a
-- superuser, connected to the database postgres, after CREATE DATABASE freehold_control; running it again changes
-- nothing. The role gets its password from whoever runs this.

-- Owns the control database and has no other right.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'freehold_control') THEN
        CREATE ROLE freehold_control LOGIN;
    END IF;
END
$$;

ALTER DATABASE freehold_control OWNER TO freehold_control;
REVOKE CONNECT, TEMPORARY ON DATABASE freehold_control FROM PUBLIC;
