-- finds: copy-stream:2
COPY orders FROM STDIN;
