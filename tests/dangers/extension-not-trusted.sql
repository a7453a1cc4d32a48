-- finds: extension-not-trusted:2, extension-not-trusted:3
CREATE EXTENSION IF NOT EXISTS file_fdw;
CREATE EXTENSION plpython3u;
