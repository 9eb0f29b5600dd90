"""Several nodes on one database: what they tell each other, and how each finds out by itself."""
