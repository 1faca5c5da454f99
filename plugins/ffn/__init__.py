"""What happens to each row by itself."""
