"""What people run: one file per recipe, and the one place where everything meets."""

from experiments.large_pages import start_in_large_pages

start_in_large_pages()
