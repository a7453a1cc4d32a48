-- finds: nothing
ALTER TRIGGER a ON orders RENAME TO b;
