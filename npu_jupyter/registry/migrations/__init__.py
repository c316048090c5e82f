"""The database's history, run by alembic when a data directory is opened."""
