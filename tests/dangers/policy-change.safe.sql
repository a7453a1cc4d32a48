-- finds: nothing
CREATE TABLE secrets (id uuid PRIMARY KEY);
ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON secrets USING (true);
