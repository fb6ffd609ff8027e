"""Models by name: which are known, where they lie on this machine, and how they are fetched when the user asks."""
