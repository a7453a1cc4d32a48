-- finds: statement-after-lock:3
ALTER TABLE orders ADD COLUMN note text;
INSERT INTO labels (name) SELECT name FROM old_labels;
