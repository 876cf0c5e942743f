"""What people look at: curves, batches of images, summaries."""
