"""privguard around CRMs that nobody here wrote: PocketBase and Directus, run for real."""
