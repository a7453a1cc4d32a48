-- The schema behind the fingerprint of a template, object by object, so that a difference can be shown. Null: of a
-- template that an earlier release has built.
ALTER TABLE templates ADD COLUMN schema jsonb;
