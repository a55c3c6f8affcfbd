"""The readers that come with the core: a format a file, and what several formats are made of."""
