"""Simonyan & Zisserman 2014 (arXiv 1409.1556), the sources' recipes with VGG, and our own."""

from recipe_fields import modern

PAPER = {
    "data.source": ("imagenet2012", "section 4, ILSVRC-2012"),
    "data.train_split": ("train", "section 4"),
    "data.eval_split": ("validation", "section 4"),
    "data.image_size": (224, "section 2.1"),
    "data.normalization": ("mean", "section 2.1, mean RGB value subtracted"),
    "data.workers": (8, "ours"),
    "augment.scale_min": (256, "section 3.1, S = 256"),
    "augment.scale_max": (256, "section 3.1, S = 256"),
    "augment.eval_scale": (None, "section 3.2, Q = S, or the middle of a range of S"),
    "augment.crop": ("random", "section 3.1"),
    "augment.flip": (True, "section 3.1"),
    "augment.color_shift": (0.1, "section 3.1, after Krizhevsky et al. 2012, section 4.1"),
    "optimizer.name": ("paper_momentum", "section 3.1, after Krizhevsky et al. 2012, section 5"),
    "optimizer.learning_rate": (1e-2, "section 3.1"),
    "optimizer.momentum": (0.9, "section 3.1"),
    "optimizer.weight_decay": (5e-4, "section 3.1"),
    "optimizer.decay": ("kernels", "ours"),
    "schedule.kind": ("plateau", "section 3.1, when the validation accuracy stops improving"),
    "schedule.monitor": ("error", "section 3.1"),
    "schedule.factor": (0.1, "section 3.1"),
    "schedule.max_reductions": (3, "section 3.1"),
    "schedule.patience": (5, "ours"),
    "schedule.min_delta": (0.0, "ours"),
    "train.epochs": (74, "section 3.1"),
    "train.batch_size": (256, "section 3.1"),
    "train.log_every": (100, "ours"),
    "checkpoint.every_steps": (1000, "ours"),
    "network.dropout": (0.5, "section 3.1"),
    "network.hidden": ((4096, 4096), "table 1"),
    "network.lrn": (False, "table 1"),
    "network.norm": (None, "table 1"),
    "network.initialization": ("glorot", "section 3.1, the note after submission"),
}


def column(name):
    return PAPER | {"model.name": (name, "table 1")}


def with_batch_norm(name):
    return PAPER | {
        "model.name": (f"{name}_bn", "ours"),
        "model.initialization": ("he", "ours"),
        "network.norm": ("BatchNorm", "ours"),
        "network.initialization": ("he", "ours"),
    }


def from_a(name):
    return column(name) | {
        "model.initialization": ("vgg", "section 3.1, variance 1e-2"),
        "network.initialization": ("vgg", "section 3.1, variance 1e-2"),
        "model.initialize_from": ("runs/vgg_imagenet/a", "section 3.1"),
        "model.initialize_layers": (
            "conv1_1|conv2_1|conv3_[12]|fc[67]|logits",
            "section 3.1, the first four convolutions and the last three layers",
        ),
    }


def at_384(preset, name):
    return column(name) | {
        "augment.scale_min": (384, "section 3.1"),
        "augment.scale_max": (384, "section 3.1"),
        "optimizer.learning_rate": (1e-3, "section 3.1"),
        "model.initialize_from": (f"runs/vgg_imagenet/{preset}", "section 3.1"),
    }


def jittered(preset, name):
    return at_384(preset, name) | {
        "augment.scale_min": (256, "section 3.1"),
        "augment.scale_max": (512, "section 3.1"),
        "optimizer.learning_rate": (1e-3, "ours"),
        "train.epochs": (74, "ours"),
        "model.initialize_from": (f"runs/vgg_imagenet/{preset}_384", "section 3.1"),
    }


# Table 1's columns but for A-LRN, which has no form with BatchNorm.
COLUMNS = {"a": "vgg11", "b": "vgg13", "c": "vgg16_1x1", "d": "vgg16", "e": "vgg19"}

IMAGENET = {
    **{preset: column(name) for preset, name in COLUMNS.items()},
    "a_lrn": column("vgg11_lrn") | {"network.lrn": (True, "table 1")},
    **{f"{preset}_bn": with_batch_norm(name) for preset, name in COLUMNS.items()},
    **{f"{preset}_from_a": from_a(COLUMNS[preset]) for preset in "bcde"},
    **{f"{preset}_384": at_384(preset, COLUMNS[preset]) for preset in "cde"},
    **{f"{preset}_jitter": jittered(preset, COLUMNS[preset]) for preset in "cde"},
    "modern": with_batch_norm("vgg16") | modern.CHANGES,
}

STL10 = {
    "data.source": ("stl10", "source"),
    "data.image_size": (224, "source"),
    "data.eval_split": ("test", "source"),
    "augment.crop": ("center", "source"),
    "augment.flip": (False, "source"),
    "eval.batch_size": (64, "ours"),
}
AVERAGE = STL10 | {
    "model.name": ("vgg16_average", "source"),
    "model.initialization": ("he", "ours"),
    "data.normalization": ("half", "source"),
    "optimizer.name": ("adam", "source"),
    "optimizer.learning_rate": (1e-5, "source"),
    "optimizer.weight_decay": (0.0, "source"),
    "schedule.kind": ("constant", "source"),
    "train.epochs": (100, "source"),
    "train.batch_size": (64, "source"),
    "train.log_every": (50, "source"),
    "train.divergence": (1000.0, "source"),
    "network.hidden": ((), "source"),
    "network.global_average": (True, "source"),
    "network.dropout": (0.0, "source"),
}
BATCH_NORM = STL10 | {
    "data.source": ("stl10", "ours"),
    "model.name": ("vgg16_bn", "source"),
    "model.initialization": ("he", "ours"),
    "data.normalization": ("mean_image_std", "source"),
    "optimizer.name": ("momentum", "ours"),
    "optimizer.learning_rate": (1e-3, "ours"),
    "optimizer.momentum": (0.9, "ours"),
    "schedule.kind": ("step", "source"),
    "schedule.step_epochs": (10, "ours"),
    "schedule.factor": (0.1, "ours"),
    "schedule.monitor": ("loss", "source, the best validation loss is kept"),
    "train.epochs": (30, "ours"),
    "train.batch_size": (4, "source"),
    "train.log_every": (50, "ours"),
    "network.norm": ("BatchNorm", "source"),
    "network.hidden": ((4096, 4096), "source"),
    "network.dropout": (0.5, "source"),
}

# Neither the paper nor the sources train VGG on CIFAR-10 or MNIST.
CIFAR10 = {
    "model.hidden": ((), "ours"),
    "model.pooled_size": (1, "ours"),
    "model.initialization": ("he", "ours"),
    "data.source": ("cifar10", "ours"),
    "data.image_size": (32, "ours"),
    "data.normalization": ("mean_std", "ours"),
    "augment.pad": (4, "ours"),
    "augment.flip": (True, "ours"),
    "optimizer.name": ("momentum", "ours"),
    "optimizer.learning_rate": (0.05, "ours"),
    "optimizer.weight_decay": (5e-4, "ours"),
    "schedule.kind": ("cosine", "ours"),
    "schedule.warmup_epochs": (5, "ours"),
    "train.epochs": (200, "ours"),
    "train.batch_size": (128, "ours"),
    "network.norm": ("BatchNorm", "ours"),
}
MNIST = {
    "model.name": ("vgg11_bn", "ours"),
    "model.width": (16, "ours"),
    "model.hidden": ((), "ours"),
    "model.pooled_size": (1, "ours"),
    "model.initialization": ("he", "ours"),
    "data.source": ("mnist", "ours"),
    "data.image_size": (32, "ours"),
    "data.normalization": ("mean_std", "ours"),
    "augment.pad": (2, "ours"),
    "augment.flip": (False, "ours"),
    "optimizer.name": ("adam", "ours"),
    "optimizer.learning_rate": (1e-3, "ours"),
    "schedule.kind": ("cosine", "ours"),
    "schedule.warmup_epochs": (0.5, "ours"),
    "train.epochs": (10, "ours"),
    "train.batch_size": (128, "ours"),
}

SMALL = {
    "model.name": ("vgg_small", "source"),
    "model.initialization": ("he", "ours"),
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
    "network.width": (16, "source"),
    "network.hidden": ((100, 20), "source"),
    "network.dropout": (0.0, "source"),
}

TABLES = {
    "vgg_imagenet": IMAGENET,
    "vgg_stl10": {"average": AVERAGE, "bn": BATCH_NORM},
    "vgg_cifar10": {
        name: CIFAR10 | {"model.name": (name, "ours")}
        for name in ("vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn")
    },
    "vgg_mnist": {"vgg11_bn": MNIST},
    "vgg_small": {"pictures": SMALL},
}
