"""The driver on real PM2: one host, no ssh, and everything that may go wrong on the way there and back."""
