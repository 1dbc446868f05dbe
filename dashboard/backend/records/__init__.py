"""The database, the folder of artefacts, and the log that only grows."""
