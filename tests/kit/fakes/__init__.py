"""What stands in for a host, its devices and an engine, and a watch or services in front of these."""
