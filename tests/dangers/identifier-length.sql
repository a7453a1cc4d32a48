-- finds: identifier-length:2
CREATE TABLE a_table_whose_name_goes_on_and_on_until_nobody_remembers_how_it_began (id uuid PRIMARY KEY);
