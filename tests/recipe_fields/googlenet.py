"""Szegedy et al. 2014 (arXiv 1409.4842), and the source's GoogLeNet with a plain stem."""

from recipe_fields import modern

PAPER = {
    "model.name": ("googlenet", "table 1"),
    "network.lrn": (True, "figure 3"),
    "network.auxiliary": (True, "section 5"),
    "network.auxiliary_dropout": (0.7, "section 5"),
    "network.dropout": (0.4, "table 1"),
    "network.initialization": ("googlenet", "ours, as in Caffe's bvlc_googlenet"),
    "data.source": ("imagenet2012", "section 7"),
    "data.train_split": ("train", "section 7"),
    "data.eval_split": ("validation", "section 7"),
    "data.image_size": (224, "section 5"),
    "data.normalization": ("mean", "section 5, mean subtraction of RGB"),
    "data.workers": (8, "ours"),
    "augment.eval_scale": (256, "section 7, one of the four scales"),
    "augment.crop": ("area", "section 6"),
    "augment.area_min": (0.08, "section 6"),
    "augment.aspect_max": (4 / 3, "section 6"),
    "augment.interpolation": ("random", "section 6"),
    "augment.photometric": (0.4, "section 6; how strong is ours"),
    "augment.flip": (True, "ours"),
    "optimizer.name": ("momentum", "section 6; the form is ours"),
    "optimizer.learning_rate": (1e-2, "ours, as in Caffe's bvlc_googlenet"),
    "optimizer.momentum": (0.9, "section 6"),
    "optimizer.weight_decay": (2e-4, "ours, as in Caffe's bvlc_googlenet"),
    "optimizer.decay": ("kernels", "ours, as in Caffe's bvlc_googlenet"),
    "optimizer.polyak": (200, "section 6; from which epoch on is ours"),
    "schedule.kind": ("step", "section 6"),
    "schedule.factor": (0.96, "section 6"),
    "schedule.step_epochs": (8, "section 6"),
    "train.epochs": (250, "ours, as in Caffe's bvlc_googlenet"),
    "train.batch_size": (32, "ours, as in Caffe's bvlc_googlenet"),
    "train.auxiliary_weight": (0.3, "section 5"),
    "train.log_every": (100, "ours"),
    "eval.batch_size": (128, "ours"),
    "checkpoint.every_steps": (1000, "ours"),
}

SOURCE = {
    "model.name": ("googlenet_plain_stem", "source"),
    "network.plain_stem": (True, "source"),
    "network.auxiliary": (False, "source"),
    "network.dropout": (0.4, "source"),
    "network.initialization": ("he", "ours"),
    "data.source": ("./pictures", "source, a folder of one's own"),
    "data.train_split": ("train", "source"),
    "data.eval_split": ("validation", "ours"),
    "data.image_size": (224, "source"),
    "data.normalization": ("unit", "ours"),
    "augment.crop": ("center", "ours"),
    "augment.flip": (False, "ours"),
    "optimizer.name": ("adam", "source"),
    "optimizer.learning_rate": (2e-4, "source"),
    "optimizer.weight_decay": (0.0, "source"),
    "schedule.kind": ("constant", "source"),
    "train.epochs": (10, "source"),
    "train.batch_size": (256, "source"),
    "train.log_every": (10, "ours"),
}

TABLES = {
    "googlenet_imagenet": {
        "paper": PAPER,
        "source": SOURCE,
        "modern": PAPER
        | modern.CHANGES
        | {
            "model.initialization": ("he", "ours"),
            "network.initialization": ("he", "ours"),
            "schedule.step_epochs": (30, "ours"),  # of no meaning for a cosine
        },
    }
}
