"""What pictures take, learnt from those that were made."""
