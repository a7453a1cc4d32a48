"""Read by Alembic for each database."""

from alembic import context
from sqlalchemy import create_engine, pool

engine = create_engine(context.config.attributes["url"], poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, version_table="bench_alembic")
    with context.begin_transaction():
        context.run_migrations()
