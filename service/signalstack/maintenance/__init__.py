"""What one process at a time does for all: its lease, its rota of chores, its loops."""
