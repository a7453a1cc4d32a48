-- finds: enum-value-order:2
ALTER TYPE mood ADD VALUE 'calm';
