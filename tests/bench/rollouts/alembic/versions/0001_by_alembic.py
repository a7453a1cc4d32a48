"""A column, as by hand."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade():
    op.execute("ALTER TABLE projects ADD COLUMN by_alembic text")
