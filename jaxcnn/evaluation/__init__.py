"""Evaluation by the papers' protocols: what of an image is shown, and how answers add up."""
