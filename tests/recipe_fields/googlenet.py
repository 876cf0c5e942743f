"""Szegedy et al. 2014 (arXiv 1409.4842), and a source's GoogLeNet with a plain stem."""

from recipe_fields import modern

PAPER = {
    "model.name": ("googlenet", "table 1"),
    "data.source": ("imagenet2012", "section 7"),
    "data.train_split": ("train", "section 7"),
    "data.eval_split": ("validation", "section 7"),
    "data.image_size": (224, "section 5"),
    "data.normalization": ("mean", "section 5, mean RGB subtracted"),
    "data.workers": (8, "ours"),
    "augment.eval_scale": (256, "ours"),
    "augment.crop": ("area", "section 6"),
    "augment.area_min": (0.08, "section 6"),
    "augment.aspect_max": (4 / 3, "section 6"),
    "augment.interpolation": ("random", "section 6"),
    "augment.photometric": (0.4, "section 6, after Howard 2013; how strong is ours"),
    "augment.flip": (True, "ours"),
    "optimizer.name": ("momentum", "section 6; its form is ours"),
    "optimizer.learning_rate": (1e-2, "ours, Caffe's"),
    "optimizer.momentum": (0.9, "section 6"),
    "optimizer.weight_decay": (2e-4, "ours, Caffe's"),
    "optimizer.polyak": (200, "section 6; over how many epochs is ours"),
    "schedule.kind": ("step", "section 6"),
    "schedule.factor": (0.96, "section 6"),
    "schedule.step_epochs": (8, "section 6"),
    "train.epochs": (250, "ours"),
    "train.batch_size": (32, "ours, Caffe's"),
    "train.auxiliary_weight": (0.3, "section 5"),
    "train.log_every": (100, "ours"),
    "eval.batch_size": (128, "ours"),
    "checkpoint.every_steps": (1000, "ours"),
    "network.dropout": (0.4, "section 5"),
    "network.auxiliary": (True, "section 5"),
    "network.auxiliary_dropout": (0.7, "section 5"),
    "network.lrn": (True, "figure 3"),
    "network.initialization": ("googlenet", "ours, Caffe's"),
}
MODERN = (
    PAPER
    | modern.CHANGES
    | {
        "schedule.step_epochs": (30, "ours, and of no effect"),
        "model.initialization": ("he", "ours"),
        "network.initialization": ("he", "ours"),
    }
)
SOURCE = {
    "model.name": ("googlenet_plain_stem", "source"),
    "data.source": ("./pictures", "source, a folder of one's own"),
    "data.eval_split": ("validation", "ours"),
    "data.image_size": (224, "source"),
    "data.normalization": ("unit", "ours"),
    "augment.crop": ("center", "ours"),
    "augment.flip": (False, "ours"),
    "optimizer.name": ("adam", "source"),
    "optimizer.learning_rate": (2e-4, "source"),
    "schedule.kind": ("constant", "source"),
    "train.loss": ("cross_entropy", "source"),
    "train.epochs": (10, "source"),
    "train.batch_size": (256, "source"),
    "train.log_every": (10, "ours"),
    "network.dropout": (0.4, "source"),
    "network.auxiliary": (False, "source"),
    "network.plain_stem": (True, "source"),
}

TABLES = {"googlenet_imagenet": {"paper": PAPER, "modern": MODERN, "source": SOURCE}}
