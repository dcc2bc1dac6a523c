"""What is measured on a reply: one scorer per question, NaN where it could not be told."""
