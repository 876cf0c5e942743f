"""He, Zhang, Ren & Sun 2015 (arXiv 1512.03385)."""

from recipe_fields import modern

NETWORK = {
    "network.initialization": ("he", "section 3.4"),
    "network.dropout": (0.0, "section 3.4"),
    "network.norm": ("BatchNorm", "section 3.4"),
}
PAPER = NETWORK | {
    "data.source": ("imagenet2012", "section 4.1"),
    "data.train_split": ("train", "section 4.1"),
    "data.eval_split": ("validation", "section 4.1"),
    "data.image_size": (224, "section 3.4"),
    "data.normalization": ("pixel_mean", "section 3.4"),
    "data.workers": (8, "ours"),
    "augment.scale_min": (256, "section 3.4"),
    "augment.scale_max": (480, "section 3.4"),
    "augment.eval_scale": (256, "README, the centre crop of a shorter side of 256"),
    "augment.crop": ("random", "section 3.4"),
    "augment.flip": (True, "section 3.4"),
    "augment.color_shift": (0.1, "section 3.4, after Krizhevsky et al. 2012, section 4.1"),
    "optimizer.name": ("paper_momentum", "README, Caffe's form"),
    "optimizer.learning_rate": (0.1, "section 3.4"),
    "optimizer.momentum": (0.9, "section 3.4"),
    "optimizer.weight_decay": (1e-4, "section 3.4"),
    "optimizer.decay": ("kernels", "ours"),
    "schedule.kind": ("plateau", "section 3.4"),
    "schedule.monitor": ("error", "section 3.4"),
    "schedule.factor": (0.1, "section 3.4"),
    "schedule.patience": (5, "ours"),
    "schedule.min_delta": (0.0, "ours"),
    "schedule.max_reductions": (None, "ours"),
    "train.steps": (600_000, "section 3.4, up to 60e4 iterations"),
    "train.epochs": (120, "ours, what the steps are in epochs"),
    "train.batch_size": (256, "section 3.4"),
    "train.exact_statistics": (200, "README; how many batches is ours"),
    "train.log_every": (100, "ours"),
    "checkpoint.every_steps": (1000, "ours"),
}


def imagenet(name, shortcut, where):
    return PAPER | {
        "model.name": (name, "table 1"),
        "network.shortcut": (shortcut, where),
        "network.stride_in": ("conv1", "section 4.1, as in the authors' released networks"),
    }


def option(name, letter, where):
    return imagenet(name, letter, where) | {"model.shortcut": (letter, where)}


BOTTLENECKS = {
    name: imagenet(name, "B", "section 4.1") for name in ("resnet50", "resnet101", "resnet152")
}

CIFAR10 = NETWORK | {
    "data.source": ("cifar10", "section 4.2"),
    "data.train_split": ("train[:90%]", "section 4.2, 45k; which is ours"),
    "data.eval_split": ("train[90%:]", "section 4.2, 5k; which is ours"),
    "data.test_split": ("test", "section 4.2"),
    "data.image_size": (32, "section 4.2"),
    "data.normalization": ("pixel_mean", "section 4.2"),
    "augment.pad": (4, "section 4.2"),
    "augment.crop": ("random", "section 4.2"),
    "augment.flip": (True, "section 4.2"),
    "optimizer.name": ("paper_momentum", "ours, as on ImageNet"),
    "optimizer.learning_rate": (0.1, "section 4.2"),
    "optimizer.momentum": (0.9, "section 4.2"),
    "optimizer.weight_decay": (1e-4, "section 4.2"),
    "optimizer.decay": ("kernels", "ours"),
    "schedule.kind": ("step", "section 4.2"),
    "schedule.factor": (0.1, "section 4.2"),
    "schedule.milestones": ((32_000, 48_000), "section 4.2"),
    "train.steps": (64_000, "section 4.2"),
    "train.batch_size": (128, "section 4.2"),
    "train.exact_statistics": (0, "ours"),
    "train.log_every": (100, "ours"),
    "network.width": (16, "section 4.2"),
    "network.small_images": (True, "section 4.2"),
}


def cifar10(name):
    shortcut = None if name.startswith("plain") else "A"
    return CIFAR10 | {
        "model.name": (name, "section 4.2"),
        "network.shortcut": (shortcut, "section 4.2"),
    }


DEPTHS = (20, 32, 44, 56, 110)

TABLES = {
    "resnet_imagenet": {
        "resnet18": option("resnet18", "A", "table 2"),
        "resnet34": option("resnet34", "A", "table 2"),
        "resnet34_b": option("resnet34", "B", "table 3"),
        "resnet34_c": option("resnet34", "C", "table 3"),
        **BOTTLENECKS,
        "plain18": imagenet("plain18", None, "table 2"),
        "plain34": imagenet("plain34", None, "table 2"),
        "modern": BOTTLENECKS["resnet50"] | modern.CHANGES,
    },
    "resnet_cifar10": {
        **{
            f"{kind}{depth}": cifar10(f"{kind}{depth}")
            for kind in ("resnet", "plain")
            for depth in DEPTHS
        },
        "resnet110": cifar10("resnet110")
        | {
            "schedule.warmup_epochs": (400 / 351, "section 4.2, about 400 iterations"),
            "schedule.warmup_factor": (0.1, "section 4.2"),
        },
    },
}
