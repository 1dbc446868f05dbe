"""Jobs that wait, the processes that do them, and what is known of their progress."""
