"""Where keys are: the key file on disk, and the modules that keep wrapping keys elsewhere."""
