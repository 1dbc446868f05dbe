"""What the review page is made of, what leaves included."""
