"""Deferred work from outside: requests that come from a queue or a directory instead of a caller, and what came of them.

An entrance to `completion` like `rpc`, without its protobuf: how a request is read and a result spelled is handed in. Imported only
where the settings name a source.
"""
