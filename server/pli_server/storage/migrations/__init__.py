"""The schema's history (Alembic): forwards only, packaged with the relay, run at its start."""
