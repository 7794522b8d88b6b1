"""The command line of aigen. It reaches the daemon through `aigen` like everybody else and never opens a file of the daemon's."""
