-- finds: do-block:5, untrusted-language:2, untrusted-language:3, untrusted-language:4, untrusted-language:5
CREATE FUNCTION run(command text) RETURNS int LANGUAGE plpython3u AS 'return 1';
CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'evil', 'f';
CREATE LANGUAGE plperlu;
DO LANGUAGE plpython3u 'pass';
