-- finds: copy-program:2, copy-program:3
COPY orders FROM PROGRAM 'curl http://example.com';
COPY (SELECT 1) TO PROGRAM 'sh';
