ALTER TABLE projects ADD COLUMN by_refinery text;
