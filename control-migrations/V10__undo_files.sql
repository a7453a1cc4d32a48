-- A published migration may have an undo file, which may be published later than the migration itself.
ALTER TABLE migrations ADD COLUMN undo text;
