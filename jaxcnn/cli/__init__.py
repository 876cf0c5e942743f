"""The commands ``python -m jaxcnn COMMAND``, one to a file."""
