"""What the saliency page is made of."""
