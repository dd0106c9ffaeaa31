"""What one process at a time does for all: rescue, partitions, roll-up."""
