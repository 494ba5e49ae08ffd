"""What is on record: leaves, the tree over them, and the offline check of both. Pure; imports no store."""
