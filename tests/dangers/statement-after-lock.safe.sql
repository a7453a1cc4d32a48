-- finds: nothing
-- file: V1__step.sql
ALTER TABLE orders ADD COLUMN note text;
-- file: V2__step.sql
INSERT INTO labels (name) SELECT name FROM old_labels;
