//! The one table of rules. docs/MIGRATIONS.md shows it; a test compares the two.

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Cannot be published without a waiver.
    Error,
    /// Somebody should look at it. Never fails.
    Warning,
    /// People have regretted it later. Never fails.
    Advice,
}

impl Level {
    /// As it is printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Advice => "advice",
        }
    }
}

/// What is looked for in migrations.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its stable name, which waivers use.
    pub name: &'static str,
    /// How serious it is.
    pub level: Level,
    /// What happens otherwise.
    pub reason: &'static str,
    /// What to write in its place.
    pub safe: &'static str,
}

macro_rules! rules {
    ($($id:ident = $name:literal, $level:ident, $reason:literal, $safe:literal;)*) => {
        $(pub(super) static $id: Rule =
            Rule { name: $name, level: Level::$level, reason: $reason, safe: $safe };)*
        /// All rules, by family.
        pub static RULES: &[&Rule] = &[$(&$id),*];
    };
}

rules! {
    // --- The file and the set
    FILE_NAME = "file-name", Error,
        "refinery skips a file of another name without a word", "V12__add_labels.sql: a capital V, a number without leading zeros, two underscores, `[a-z0-9_]`";
    FILE_UNREADABLE = "file-unreadable", Error,
        "what cannot be read cannot be judged", "a file of at most 256 KiB; data is loaded by programs";
    BYTE_ORDER_MARK = "byte-order-mark", Error,
        "PostgreSQL takes it for a part of the first word", "UTF-8 without a byte order mark";
    NOT_UTF8 = "not-utf8", Error,
        "the server refuses it, or stores other characters", "UTF-8";
    NUL_BYTE = "nul-byte", Error,
        "PostgreSQL reads a text up to its first NUL only", "no NUL";
    CARRIAGE_RETURN = "carriage-return", Error,
        "the checksum counts every byte, and so differs from one check-out to the next", "Unix line ends (`*.sql text eol=lf` in .gitattributes)";
    EMPTY_FILE = "empty-file", Error,
        "a version without a statement is a mistake", "at least one statement";
    VERSION_GAP = "version-gap", Error,
        "some databases would skip the version that comes later", "versions 1, 2, 3, … without gaps";
    DUPLICATE_VERSION = "duplicate-version", Error,
        "only one of the two is applied", "a version of its own for each file";
    UNDO_FILE = "undo-file", Error,
        "an undo file undoes the migration of its version and name", "U12__add_labels.sql beside V12__add_labels.sql";
    UNDO_LOSES_DATA = "undo-loses-data", Warning,
        "the undo throws away what was written since", "leave the column or table where it is, and say so in the file";
    // --- Waivers, markers, transactions
    WAIVER_REASON = "waiver-reason", Error,
        "nobody can judge a waiver without a reason", "-- freehold:allow <rule>: <reason>";
    WAIVER_UNUSED = "waiver-unused", Error,
        "a waiver that waives nothing hides the next finding", "remove it, or put it right before the statement";
    MARKER = "marker", Error,
        "a marker that is not read runs the file in another way than it says", "`-- freehold:no-transaction` or `-- freehold:batched` before the first statement";
    NO_TRANSACTION_ONE = "no-transaction-one-statement", Error,
        "PostgreSQL wraps several statements in a transaction of its own, and what fails half-way cannot be resumed", "one statement a file";
    NO_TRANSACTION_NEEDLESS = "no-transaction-needless", Warning,
        "the statement could run in a transaction, and would then be applied once", "leave the marker away";
    NOT_REPEATABLE = "not-repeatable", Error,
        "outside a transaction the statement may be done and not recorded, and then runs again", "a name for the index that is made; IF EXISTS for one that is dropped";
    BATCHED_STATEMENT = "batched-statement", Error,
        "only one statement that takes a batch of `$1` rows can be repeated", "one UPDATE, DELETE, INSERT or MERGE with LIMIT $1";
    BATCHED_ENDLESS = "batched-endless", Error,
        "the statement touches the same rows again, for ever", "a WHERE that no longer finds the rows that are done";
    NEEDS_NO_TRANSACTION = "needs-no-transaction", Error,
        "PostgreSQL refuses it inside a transaction", "`-- freehold:no-transaction`, and a file for this statement alone";
    TRANSACTION_CONTROL = "transaction-control", Error,
        "Freehold begins and ends the transaction, together with the row of the history", "no BEGIN, COMMIT, ROLLBACK or SAVEPOINT";
    TIMEOUT_OVERRIDE = "timeout-override", Error,
        "Freehold sets the time-outs, so that no migration stops a tenant", "leave them (the first file, such as a dump, may set them); a long change of rows is a `-- freehold:batched` file";
    SESSION_SETTING = "session-setting", Advice,
        "the setting ends with the file, whatever was meant", "SET LOCAL, which says so";
    // --- Inside the tenant
    ROLE_CHANGE = "role-change", Error,
        "roles belong to the whole server, and so to other tenants too", "none: Freehold makes a tenant's roles";
    ALTER_SYSTEM = "alter-system", Error,
        "it changes the whole server", "none: the server is its operator's";
    COPY_PROGRAM = "copy-program", Error,
        "it runs a program on the server", "INSERT, or a program that loads data through a connection";
    COPY_FILE = "copy-file", Error,
        "it reads or writes the server's files", "INSERT, or a program that loads data through a connection";
    COPY_STREAM = "copy-stream", Error,
        "a migration has no stream of data", "INSERT … VALUES";
    LOAD_LIBRARY = "load-library", Error,
        "it loads code into the server", "none";
    UNTRUSTED_LANGUAGE = "untrusted-language", Error,
        "such a function does whatever the server may", "LANGUAGE sql or plpgsql";
    SECURITY_DEFINER = "security-definer", Error,
        "who calls it chooses with search_path what its names mean, and it runs with its owner's rights", "SET search_path = pg_catalog, pg_temp in the function, and full names in its body";
    GRANT_PUBLIC = "grant-to-public", Error,
        "PUBLIC is every role of the server, other tenants' too", "none: default privileges give the tenant's role its rights";
    GRANT_CHANGE = "grant-change", Warning,
        "who may do what cannot be judged from the text", "none: default privileges give the tenant's role its rights";
    DEFAULT_PRIVILEGES = "default-privileges", Error,
        "the tenant's role gets its rights on new tables by default privileges", "leave them";
    OWNER_CHANGE = "owner-change", Error,
        "everything in a tenant's database belongs to its owner role; later migrations could not change the rest", "leave the owner";
    SET_ROLE = "set-role", Error,
        "the migration would go on with other rights", "none: Freehold sets the role";
    LISTEN = "listen", Error,
        "the session ends with the migration, and listens for nobody", "LISTEN in the program";
    ADVISORY_LOCK = "advisory-lock", Error,
        "Freehold holds advisory locks in the database while it migrates, and a waiting one deadlocks with CONCURRENTLY", "none";
    DATABASE_SETTING = "database-setting", Error,
        "the setting hangs on the database or the role and not on the schema: copies and archives lose it", "SET in the function that needs it";
    DROP_DATABASE = "drop-database", Error,
        "it loses the tenant", "none: `freehold tenant delete`";
    OUTSIDE_REACH = "outside-reach", Error,
        "it reaches out of the tenant's database, or into PostgreSQL's own tables", "none";
    FREEHOLD_SCHEMA = "freehold-schema", Error,
        "what is in the schema freehold is Freehold's, rows too: a set that changes it is not published, and a tenant's rows are not written", "tables of the product's own, whose keys may refer to Freehold's";
    SERVER_FUNCTION = "server-function", Error,
        "the function reads the server's files, opens connections or ends sessions", "none";
    EXTENSION = "extension-not-trusted", Error,
        "only extensions that PostgreSQL marks as trusted can be installed by a tenant's owner", "a trusted extension, or none";
    EXTENSION_CHANGE = "extension-change", Warning,
        "what another version of an extension changes cannot be judged from the text", "rehearse it";
    POLICY_CHANGE = "policy-change", Warning,
        "who sees which rows cannot be judged from the text", "rehearse it with the roles that are affected";
    // --- Locks and rewrites of tables that have rows
    INDEX_LOCK = "index-without-concurrently", Error,
        "building blocks every write, dropping and rebuilding block everything", "CONCURRENTLY in a `-- freehold:no-transaction` file";
    UNIQUE_INDEX = "unique-index-on-data", Warning,
        "it fails where there are duplicates", "look for duplicates first";
    REFRESH_LOCK = "refresh-without-concurrently", Error,
        "readers wait for the whole refresh", "a unique index on the view, and REFRESH … CONCURRENTLY";
    PARTITION_DETACH = "partition-detach", Error,
        "the parent is locked against everybody, and CONCURRENTLY cannot be begun again by Freehold after it was cut off", "DETACH PARTITION as the only statement of a file, with a waiver: Freehold asks for the lock in tries of 500 ms, and it is held for a moment";
    PARTITION_ATTACH = "partition-attach", Error,
        "the partition's rows are read under a lock", "first a CHECK that says the same, validated; then ATTACH";
    ADD_PRIMARY_KEY = "add-primary-key", Error,
        "an index is built, and NOT NULL checked, under the strongest lock", "CREATE UNIQUE INDEX CONCURRENTLY on NOT NULL columns; then ADD PRIMARY KEY USING INDEX";
    ADD_UNIQUE = "add-unique", Error,
        "an index is built under the strongest lock", "CREATE UNIQUE INDEX CONCURRENTLY; then ADD CONSTRAINT … UNIQUE USING INDEX";
    ADD_EXCLUSION = "add-exclusion", Error,
        "an index is built under the strongest lock, and there is no concurrent form", "a new table with the constraint, filled in batches";
    ADD_FOREIGN_KEY = "add-foreign-key", Error,
        "every row is looked up while both tables are locked against writes", "ADD CONSTRAINT … FOREIGN KEY … NOT VALID; VALIDATE CONSTRAINT in a later file";
    ADD_CHECK = "add-check", Error,
        "every row is read under the strongest lock", "ADD CONSTRAINT … CHECK … NOT VALID; VALIDATE CONSTRAINT in a later file";
    VALIDATE_TOGETHER = "validate-in-same-file", Error,
        "the strong lock of the file that adds the constraint is kept while every row is read", "VALIDATE CONSTRAINT in a later file";
    DOMAIN_CONSTRAINT = "domain-constraint", Error,
        "every table with the domain is read under a lock", "ADD CONSTRAINT … NOT VALID, then VALIDATE in a later file; or a CHECK of the column";
    DOMAIN_CREATED = "domain-with-constraint", Advice,
        "the domain's constraints can only be changed with a scan of every table that uses it", "a CHECK of the column";
    SET_NOT_NULL = "set-not-null", Error,
        "every row is read under the strongest lock", "CHECK (… IS NOT NULL) NOT VALID; VALIDATE in a later file; then SET NOT NULL, which asks the CHECK";
    ADD_NOT_NULL = "add-not-null-column", Error,
        "it fails as soon as there is a row", "a DEFAULT, or a nullable column that is filled first";
    VOLATILE_DEFAULT = "volatile-default", Error,
        "the table is written anew under the strongest lock", "add the column without a default, SET DEFAULT, and fill it in batches";
    ADD_GENERATED = "add-generated-column", Error,
        "the table is written anew under the strongest lock", "a nullable column that is filled in batches";
    CHANGE_TYPE = "change-type", Error,
        "the table is written anew, or every row is checked, under the strongest lock", "a new column, filled in batches; the old one goes later";
    STORAGE_REWRITE = "storage-rewrite", Error,
        "the table is written anew under the strongest lock", "a new table";
    FULL_REWRITE = "vacuum-full", Error,
        "the table is written anew under the strongest lock", "autovacuum; VACUUM without FULL";
    LOCK_TABLE = "lock-table", Error,
        "the lock is kept to the end of the file", "the lock that the statement takes by itself";
    ADD_TRIGGER = "add-trigger", Error,
        "it locks the table, and every later write of a deployed release does something else", "a waiver that says why deployed releases can live with it";
    AFTER_LOCK = "statement-after-lock", Warning,
        "the lock of an earlier statement of the file is held for this one too", "a file of its own";
    ALTER_SPLIT = "alter-table-again", Advice,
        "each ALTER TABLE may read or write the table once more", "one ALTER TABLE with several actions";
    WHOLE_TABLE = "whole-table-write", Error,
        "every row is locked and written in one transaction", "a `-- freehold:batched` file with a WHERE";
    WRITE_WITH_DDL = "write-with-ddl", Error,
        "rows are written while the strong lock of an earlier statement of the file is held", "a file of its own";
    // --- The release before this one still runs
    DROP_COLUMN = "drop-column", Error,
        "the release before still uses it, and its data is gone", "drop it once no deployed release uses it, with a waiver that says since when";
    DROP_TABLE = "drop-table", Error,
        "the release before still uses it, and its data is gone", "drop it once no deployed release uses it, with a waiver that says since when";
    DROP_SCHEMA = "drop-schema", Error,
        "all that is in it is gone", "drop its objects one by one";
    DROP_OBJECT = "drop-object", Error,
        "the release before still uses it", "drop it once no deployed release uses it, with a waiver that says since when";
    DROP_CASCADE = "drop-cascade", Error,
        "it drops whatever depends on it, also what this text does not name", "RESTRICT: drop what depends on it by name";
    DROP_CONSTRAINT = "drop-constraint", Warning,
        "rows that break it get in, and cannot be told apart later", "be sure that the release before does not rely on it";
    DROP_NOT_NULL = "drop-not-null", Warning,
        "the release before may not expect NULL", "first deploy a release that does";
    DROP_DEFAULT = "drop-default", Warning,
        "the release before may leave the column away, and then writes NULL", "first deploy a release that writes the column";
    DROP_INDEX = "drop-index", Warning,
        "statements of the release before may be slow without it", "look at pg_stat_user_indexes first";
    RENAME = "rename", Error,
        "the release before uses the old name", "a new column or table beside the old one; the old one goes later";
    CONTRACT = "contract", Advice,
        "a rollout that takes away what replicas of an older release use is only held back if the file says so", "`-- freehold:contract oldest=12` among the first comments: the oldest version of the stream that a release must carry to do without it";
    DROP_AND_CREATE = "drop-and-create", Error,
        "what the old one held and who was granted it is gone", "CREATE OR REPLACE, or ALTER";
    // --- Data
    TRUNCATE = "truncate", Error,
        "every row is gone for good", "DELETE with a WHERE in a `-- freehold:batched` file";
    DO_BLOCK = "do-block", Error,
        "what it does cannot be seen in its text", "plain statements, or a waiver that says what it does";
    DYNAMIC_SQL = "dynamic-sql", Error,
        "what it does cannot be seen in its text", "plain statements, or a waiver that says what it does";
    // --- Mistakes
    SYNTAX = "syntax", Error,
        "the linter cannot read it, and so not judge it", "what PostgreSQL takes; a waiver where PostgreSQL knows more than the linter";
    IDENTIFIER_LENGTH = "identifier-length", Error,
        "PostgreSQL cuts a name after 63 bytes, and two may become one", "63 bytes at most";
    COLUMN_TWICE = "column-twice", Error,
        "PostgreSQL refuses a column that is named twice", "each column once";
    ENUM_VALUE_USED = "enum-value-in-same-file", Error,
        "a value cannot be used in the transaction that adds it", "use it in a later file";
    // --- Regrets
    NO_PRIMARY_KEY = "no-primary-key", Advice,
        "rows cannot be told apart, nor batched, nor replicated", "id uuid PRIMARY KEY";
    JSON_COLUMN = "json-column", Advice,
        "json has no equality and no index", "jsonb";
    CHAR_TYPE = "char-type", Advice,
        "char(n) is padded with blanks", "text with a CHECK";
    VARCHAR_LIMIT = "varchar-limit", Advice,
        "a shorter limit is a change of the type, and the limit has no name", "text with a named CHECK (length(…) <= n)";
    TIMESTAMP_ZONE = "timestamp-without-zone", Advice,
        "it means another moment in each session's time zone", "timestamptz";
    MONEY_TYPE = "money-type", Advice,
        "its digits depend on a setting of the server", "numeric, or bigint in the smallest unit";
    INT_KEY = "int-key", Advice,
        "2,147,483,647 rows end it, and its change writes the table anew", "uuid or bigint";
    SERIAL = "serial-type", Advice,
        "its sequence has rights and an owner of its own", "GENERATED ALWAYS AS IDENTITY, or uuid";
    ENUM_TYPE = "enum-type", Advice,
        "a value cannot be removed again", "text with a CHECK";
    ENUM_ORDER = "enum-value-order", Advice,
        "the value sorts after all others, which is seldom meant", "BEFORE or AFTER another value";
    INDEX_WIDE = "index-of-many-columns", Advice,
        "every write pays for it, and the later columns seldom help", "three columns at most";
    INDEX_DUPLICATE = "duplicate-index", Advice,
        "every write pays for it, and no read gains", "the other index";
    FOREIGN_KEY_INDEX = "foreign-key-without-index", Advice,
        "whoever deletes a row of the other table reads this whole one", "an index that begins with the columns";
}
