"""What the relay keeps: SQLite tables, the one writer, readers beside it, a folder of blobs."""
