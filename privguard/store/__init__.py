"""What is kept, through SQLAlchemy: the log, and the clients' keys."""
