"""How stores of former versions become stores of this one (Alembic)."""
