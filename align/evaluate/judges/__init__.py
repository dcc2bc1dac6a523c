"""What a model is asked that judges a reply, how its verdict is read, and how several judges agree on one."""
