"""Zeiler & Fergus 2013 (arXiv 1311.2901)."""

from recipe_fields import modern

PAPER = {
    "model.name": ("zfnet", "figure 3"),
    "data.source": ("imagenet2012", "section 3"),
    "data.train_split": ("train", "section 3"),
    "data.eval_split": ("validation", "section 4"),
    "data.image_size": (224, "section 3"),
    "data.normalization": ("pixel_mean", "section 3; of the centre crops alone, which is ours"),
    "data.workers": (8, "ours"),
    "augment.scale_min": (256, "section 3"),
    "augment.scale_max": (256, "section 3"),
    "augment.central_square": (True, "section 3"),
    "augment.crop": ("corners", "section 3"),
    "augment.flip": (True, "section 3"),
    "augment.color_shift": (0.0, "section 3, which has none"),
    "optimizer.name": ("paper_momentum", "ours, after Krizhevsky et al. 2012"),
    "optimizer.learning_rate": (1e-2, "section 3"),
    "optimizer.momentum": (0.9, "section 3"),
    "optimizer.weight_decay": (0.0, "section 3, which has none"),
    "optimizer.filter_rms": (0.1, "section 3"),
    "schedule.kind": ("plateau", "section 3, by hand there"),
    "schedule.monitor": ("error", "section 3"),
    "schedule.factor": (0.1, "ours"),
    "schedule.patience": (5, "ours"),
    "schedule.max_reductions": (3, "ours"),
    "train.epochs": (70, "section 3"),
    "train.batch_size": (128, "section 3"),
    "train.log_every": (100, "ours"),
    "eval.batch_size": (128, "ours"),
    "checkpoint.every_steps": (1000, "ours"),
    "network.widths": ((96, 256, 384, 384, 256), "figure 3"),
    "network.hidden": ((4096, 4096), "figure 3"),
    "network.dropout": (0.5, "section 3"),
    "network.initialization": ("zfnet", "section 3"),
}
LARGE = {
    "model.name": ("zfnet_large", "table 2"),
    "network.widths": ((96, 256, 512, 1024, 512), "table 2"),
}
MODERN = (
    PAPER
    | modern.CHANGES
    | {
        "optimizer.weight_decay": (5e-4, "ours"),
        "model.initialization": ("he", "ours"),
        "network.initialization": ("he", "ours"),
    }
)

TABLES = {
    "zfnet_imagenet": {
        "paper": PAPER,
        "large": PAPER | LARGE,
        "modern": MODERN,
    }
}
