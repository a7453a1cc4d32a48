-- finds: nothing
CREATE TYPE pair AS (one text, two text);
