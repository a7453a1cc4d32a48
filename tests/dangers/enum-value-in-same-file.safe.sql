-- finds: nothing
-- file: V1__step.sql
ALTER TYPE mood ADD VALUE 'calm' BEFORE 'sad';
-- file: V2__step.sql
INSERT INTO moods (name) VALUES ('calm');
