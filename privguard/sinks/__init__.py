"""What leaves for others: entries of the log in the forms that their tools read, and one-time codes."""
