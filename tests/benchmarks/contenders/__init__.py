"""What is measured; each module is imported in a process of its own, and may need what is not installed."""
