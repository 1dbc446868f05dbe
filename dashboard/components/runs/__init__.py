"""What the page of runs is made of."""
