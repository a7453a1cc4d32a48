-- finds: load-library:2
LOAD '/tmp/evil.so';
