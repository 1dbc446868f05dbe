"""What the pages are made of: parts they share, and a room per page for those of its own."""
