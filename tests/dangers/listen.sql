-- finds: listen:2
LISTEN orders;
