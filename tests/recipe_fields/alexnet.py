"""Krizhevsky, Sutskever & Hinton 2012, and a source's AlexNet with BatchNorm on CIFAR-10."""

from recipe_fields import modern

PAPER = {
    "model.name": ("alexnet", "section 3.5"),
    "data.source": ("imagenet2012", "section 6.1, table 2"),
    "data.train_split": ("train", "section 2"),
    "data.eval_split": ("validation", "section 6.1, table 2"),
    "data.image_size": (224, "section 4.1"),
    "data.normalization": ("pixel_mean", "section 2; of the centre crops alone, which is ours"),
    "data.workers": (8, "ours"),
    "augment.scale_min": (256, "section 2"),
    "augment.scale_max": (256, "section 2"),
    "augment.central_square": (True, "section 2"),
    "augment.crop": ("random", "section 4.1"),
    "augment.flip": (True, "section 4.1"),
    "augment.color_shift": (0.1, "section 4.1"),
    "optimizer.name": ("paper_momentum", "section 5"),
    "optimizer.learning_rate": (1e-2, "section 5"),
    "optimizer.momentum": (0.9, "section 5"),
    "optimizer.weight_decay": (5e-4, "section 5"),
    "optimizer.decay": ("all", "section 5, which leaves nothing out"),
    "schedule.kind": ("plateau", "section 5"),
    "schedule.monitor": ("error", "section 5"),
    "schedule.factor": (0.1, "section 5"),
    "schedule.max_reductions": (3, "section 5"),
    "schedule.patience": (5, "ours"),
    "train.epochs": (90, "section 5"),
    "train.batch_size": (128, "section 5"),
    "train.log_every": (100, "ours"),
    "eval.batch_size": (128, "ours"),
    "checkpoint.every_steps": (1000, "ours"),
    "network.widths": ((96, 256, 384, 384, 256), "section 3.5"),
    "network.groups": (2, "section 3.2"),
    "network.lrn": (True, "section 3.3"),
    "network.norm_place": ("before_pool", "section 3.5"),
    "network.pool_window": (3, "section 3.4"),
    "network.hidden": ((4096, 4096), "section 3.5"),
    "network.dropout": (0.5, "section 4.2"),
    "network.initialization": ("alexnet", "section 5"),
}
MODERN = (
    PAPER
    | modern.CHANGES
    | {
        "optimizer.decay": ("kernels", "ours"),
        "model.initialization": ("he", "ours"),
        "network.initialization": ("he", "ours"),
    }
)

SOURCE = {
    "model.name": ("alexnet_bn", "source"),
    "data.source": ("cifar10", "source"),
    "data.train_split": ("train[:80%]", "source, 40,000; which is ours"),
    "data.eval_split": ("train[80%:]", "source, 10,000; which is ours"),
    "data.test_split": ("test", "source"),
    "data.image_size": (128, "source"),
    "data.normalization": ("unit", "source"),
    "augment.crop": ("center", "source"),
    "augment.flip": (False, "source"),
    "optimizer.name": ("adam", "source"),
    "optimizer.learning_rate": (1e-3, "source"),
    "optimizer.b1": (0.9, "source, Keras' own"),
    "optimizer.b2": (0.999, "source, Keras' own"),
    "optimizer.epsilon": (1e-7, "source, Keras' own"),
    "optimizer.epsilon_hat": (True, "source, Keras' form"),
    "optimizer.weight_decay": (2e-4, "source, twice its 1e-4, which has no half"),
    "optimizer.decay": ("kernels", "source"),
    "optimizer.decay_layers": ("conv[2-5]", "source"),
    "schedule.kind": ("plateau", "source"),
    "schedule.monitor": ("objective", "source"),
    "schedule.factor": (0.2, "source"),
    "schedule.patience": (5, "source"),
    "schedule.min_delta": (1e-4, "source, Keras' own"),
    "schedule.early_stopping": (10, "source"),
    "train.epochs": (30, "source"),
    "train.batch_size": (64, "source"),
    "train.log_every": (50, "ours"),
    "network.dropout": (0.5, "source"),
    "network.hidden": ((4096, 4096), "source"),
    "network.norm_place": ("before_pool", "source"),
}
POOL_BN = {
    "model.name": ("alexnet_pool_bn", "source"),
    "data.image_size": (224, "source"),
    "network.norm_place": ("after_pool", "source"),
}
# The source of the form with BatchNorm after the pools has no recipe.
OURS = {name: (value, "ours") for name, (value, _) in SOURCE.items() if "network." not in name}

TABLES = {
    "alexnet_imagenet": {"paper": PAPER, "modern": MODERN},
    "alexnet_cifar10": {"source": SOURCE, "pool_bn": SOURCE | OURS | POOL_BN},
}
