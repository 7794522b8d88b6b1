"""How files and databases are opened, locked and written safely; knows nothing of what is in them.

The cache and the ledger stand on this room. Schemas, rows and decisions about damaged files stay with them.
"""
