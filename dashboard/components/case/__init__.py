"""What the page of a case is made of."""
