-- finds: security-definer:2, security-definer:3
CREATE FUNCTION totals() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
ALTER FUNCTION totals() SECURITY DEFINER;
