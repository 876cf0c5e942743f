"""Zeiler & Fergus 2013 (arXiv 1311.2901)."""

from recipe_fields import modern

PAPER = {
    "model.name": ("zfnet", "figure 3"),
    "network.widths": ((96, 256, 384, 384, 256), "figure 3"),
    "network.hidden": ((4096, 4096), "figure 3"),
    "network.dropout": (0.5, "section 3"),
    "network.initialization": ("zfnet", "section 3"),
    "data.source": ("imagenet2012", "section 3"),
    "data.train_split": ("train", "section 3"),
    "data.eval_split": ("validation", "section 5.1"),
    "data.image_size": (224, "section 3"),
    "data.normalization": ("pixel_mean", "section 3, the per-pixel mean"),
    "data.workers": (8, "ours"),
    "augment.scale_min": (256, "section 3"),
    "augment.scale_max": (256, "section 3"),
    "augment.eval_scale": (None, "section 3, 256 as in training"),
    "augment.central_square": (True, "section 3, the central 256 x 256 region"),
    "augment.crop": ("corners", "section 3, 10 sub-crops"),
    "augment.flip": (True, "section 3, with and without horizontal flips"),
    "augment.color_shift": (0.0, "section 3, none"),
    "optimizer.name": ("paper_momentum", "ours, after Krizhevsky et al. 2012, section 5"),
    "optimizer.learning_rate": (1e-2, "section 3"),
    "optimizer.momentum": (0.9, "section 3"),
    "optimizer.weight_decay": (0.0, "ours, as the paper names none"),
    "optimizer.filter_rms": (0.1, "section 3"),
    "schedule.kind": ("plateau", "section 3, annealed by hand when the validation error plateaus"),
    "schedule.monitor": ("error", "section 3"),
    "schedule.factor": (0.1, "ours"),
    "schedule.max_reductions": (3, "ours"),
    "schedule.patience": (5, "ours"),
    "schedule.min_delta": (0.0, "ours"),
    "train.epochs": (70, "section 3"),
    "train.batch_size": (128, "section 3"),
    "train.log_every": (100, "ours"),
    "eval.batch_size": (128, "ours"),
    "checkpoint.every_steps": (1000, "ours"),
}

TABLES = {
    "zfnet_imagenet": {
        "paper": PAPER,
        "large": PAPER
        | {
            "model.name": ("zfnet_large", "table 2"),
            "network.widths": ((96, 256, 512, 1024, 512), "table 2"),
        },
        "modern": PAPER
        | modern.CHANGES
        | {
            "model.initialization": ("he", "ours"),
            "network.initialization": ("he", "ours"),
            "optimizer.weight_decay": (5e-4, "ours"),
        },
    }
}
