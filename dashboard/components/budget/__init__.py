"""What the budget page is made of, the form that starts runs included."""
