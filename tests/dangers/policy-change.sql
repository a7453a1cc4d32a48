-- finds: policy-change:2, policy-change:3, policy-change:4
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON orders USING (true);
DROP POLICY old ON orders;
