"""Which models exist on this machine: sources, conversion, checks and the database."""
