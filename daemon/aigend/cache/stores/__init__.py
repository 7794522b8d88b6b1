"""Where entries lie when the memory tier has let go of them: one port, one database, one fake with the same manners."""
