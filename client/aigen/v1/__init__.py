"""Generated from proto/aigen/v1; never edited."""
