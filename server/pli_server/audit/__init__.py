"""The relay's trace: an append-only Merkle log of every act that matters, without content."""
