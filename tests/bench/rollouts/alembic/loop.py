"""Alembic over each database whose address stands on standard input, one after the other in one process, as a team
loops over its tenants: Alembic keeps what it works on in globals, so it has no threads."""

import pathlib
import sys

from alembic import command
from alembic.config import Config

for url in sys.stdin.read().split():
    config = Config()
    config.set_main_option("script_location", str(pathlib.Path(__file__).parent))
    config.attributes["url"] = url
    command.upgrade(config, "head")
