"""Lane DEFERRED: requests that wait for the providers' own batch jobs."""
