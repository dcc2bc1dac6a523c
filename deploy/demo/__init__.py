"""`make demo`: a risky request with two pictures, answered by the real engine through the real gateway."""
