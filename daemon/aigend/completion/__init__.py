"""The spine: the order of the steps from a request to an answer that is paid once and counted exactly."""
