-- How often in a row the operation's lease ran out before a step had ended or failed: its replica was killed, perhaps by
-- the very step, or stopped, or cut off. Somebody has to look before every replica has died of it.
ALTER TABLE operations ADD COLUMN abandoned integer NOT NULL DEFAULT 0;
