"""What people run: one file per recipe, and the one place where everything meets."""
