-- finds: grant-to-public:2, grant-to-public:3
GRANT SELECT ON orders TO PUBLIC;
GRANT CREATE ON SCHEMA public TO public;
