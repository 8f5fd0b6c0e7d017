"""What a trained model is, and which there are."""
