"""Who goes to which provider when."""
