-- finds: add-primary-key:2, add-primary-key:3
ALTER TABLE orders ADD PRIMARY KEY (id);
ALTER TABLE items ADD COLUMN id uuid PRIMARY KEY;
