-- finds: server-function:2, server-function:3, server-function:4
SELECT pg_read_file('/etc/passwd');
SELECT pg_catalog.pg_terminate_backend(1);
SELECT lo_export(1, '/tmp/x');
