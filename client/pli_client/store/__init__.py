"""The vault's queries, one module per family of tables. Plain functions of a Database, no policy."""
