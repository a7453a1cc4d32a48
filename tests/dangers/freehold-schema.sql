-- finds: add-trigger:9, freehold-schema:10, freehold-schema:2, freehold-schema:4, freehold-schema:5, freehold-schema:6, freehold-schema:7, freehold-schema:8, freehold-schema:9
INSERT INTO freehold.users (id, email, name, role, active)
VALUES (gen_random_uuid(), 'a@b.example', 'b', 'owner', true);
UPDATE freehold.roles SET permissions = '{}' WHERE name = 'viewer';
DELETE FROM freehold.sessions WHERE id IS NULL;
ALTER TABLE freehold.users ADD COLUMN nickname text;
CREATE RULE silent AS ON INSERT TO freehold.audit_events DO INSTEAD NOTHING;
CREATE POLICY p ON freehold.users USING (true);
CREATE TRIGGER t BEFORE INSERT ON freehold.users FOR EACH ROW EXECUTE FUNCTION f();
CREATE RULE also AS ON INSERT TO notes DO ALSO DELETE FROM freehold.sessions WHERE false;
