-- The example product: the pattern that a SaaS team copies. See "Add a table" in CONTRIBUTING.md.

CREATE TABLE projects (
    id          uuid PRIMARY KEY,
    name        text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    description text NOT NULL DEFAULT '' CHECK (length(description) <= 10000),
    status      text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'archived')),
    created_by  uuid REFERENCES freehold.users (id) ON DELETE SET NULL,
    -- Rises with every update: the entity tag.
    version     bigint NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
-- One index a sort order; the id breaks ties, so that a page never repeats or skips a row.
CREATE INDEX projects_created_at_idx ON projects (created_at, id);
CREATE INDEX projects_name_idx ON projects (name, id);
CREATE INDEX projects_updated_at_idx ON projects (updated_at, id);
-- One index a foreign key: without it, whoever deletes a user reads the whole table.
CREATE INDEX projects_created_by_idx ON projects (created_by);

CREATE TABLE tasks (
    id          uuid PRIMARY KEY,
    project_id  uuid NOT NULL CONSTRAINT tasks_project_id_fkey REFERENCES projects (id) ON DELETE CASCADE,
    title       text NOT NULL CHECK (length(title) BETWEEN 1 AND 200),
    description text NOT NULL DEFAULT '' CHECK (length(description) <= 10000),
    status      text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'in_progress', 'done')),
    priority    text NOT NULL DEFAULT 'normal' CHECK (priority IN ('low', 'normal', 'high', 'urgent')),
    assignee_id uuid CONSTRAINT tasks_assignee_id_fkey REFERENCES freehold.users (id) ON DELETE SET NULL,
    due_on      date,
    created_by  uuid REFERENCES freehold.users (id) ON DELETE SET NULL,
    version     bigint NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX tasks_created_at_idx ON tasks (created_at, id);
CREATE INDEX tasks_updated_at_idx ON tasks (updated_at, id);
CREATE INDEX tasks_title_idx ON tasks (title, id);
CREATE INDEX tasks_project_id_idx ON tasks (project_id, created_at, id);
CREATE INDEX tasks_assignee_id_idx ON tasks (assignee_id);
CREATE INDEX tasks_created_by_idx ON tasks (created_by);
