-- finds: enum-value-in-same-file:3
ALTER TYPE mood ADD VALUE 'calm' BEFORE 'sad';
INSERT INTO moods (name) VALUES ('calm');
