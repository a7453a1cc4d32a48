-- finds: syntax:3
SELECT 1;
CREATE TABL broken (id uuid PRIMARY KEY);
SELECT 2;
