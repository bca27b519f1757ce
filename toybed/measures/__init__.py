"""What is seen: entropy, covariance, diversity and divergence."""
