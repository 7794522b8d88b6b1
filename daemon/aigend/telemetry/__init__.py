"""What the daemon tells about itself: its log, and OpenTelemetry traces and metrics. Never a prompt, an answer or a key."""
