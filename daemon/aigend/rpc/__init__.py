"""The door: the only room that knows protobuf and gRPC. Servicers unpack, make one call, and pack."""
