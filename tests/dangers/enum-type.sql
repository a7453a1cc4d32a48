-- finds: enum-type:2
CREATE TYPE mood AS ENUM ('sad', 'happy');
