"""Krizhevsky, Sutskever & Hinton 2012, and the sources' AlexNets with BatchNorm."""

from recipe_fields import modern

PAPER = {
    "model.name": ("alexnet", "section 3.5"),
    "network.groups": (2, "section 3.5, two GPUs"),
    "network.lrn": (True, "section 3.3"),
    "network.norm_place": ("before_pool", "sections 3.3 and 3.5"),
    "network.pool_window": (3, "section 3.4"),
    "network.dropout": (0.5, "section 4.2"),
    "network.hidden": ((4096, 4096), "section 3.5"),
    "network.initialization": ("alexnet", "section 5"),
    "data.source": ("imagenet2012", "section 2, ILSVRC-2012"),
    "data.train_split": ("train", "section 2"),
    "data.eval_split": ("validation", "section 2"),
    "data.image_size": (224, "section 4.1"),
    "data.normalization": ("pixel_mean", "section 2, the mean activity of each pixel"),
    "data.workers": (8, "ours"),
    "augment.scale_min": (256, "section 2"),
    "augment.scale_max": (256, "section 2"),
    "augment.eval_scale": (None, "section 2, 256 as in training"),
    "augment.central_square": (True, "section 2, the central 256 x 256 patch"),
    "augment.crop": ("random", "section 4.1"),
    "augment.flip": (True, "section 4.1"),
    "augment.color_shift": (0.1, "section 4.1"),
    "optimizer.name": ("paper_momentum", "section 5, the update rule"),
    "optimizer.learning_rate": (1e-2, "section 5"),
    "optimizer.momentum": (0.9, "section 5"),
    "optimizer.weight_decay": (5e-4, "section 5"),
    "optimizer.decay": ("all", "section 5, the update rule"),
    "schedule.kind": ("plateau", "section 5"),
    "schedule.monitor": ("error", "section 5"),
    "schedule.factor": (0.1, "section 5"),
    "schedule.max_reductions": (3, "section 5"),
    "schedule.patience": (5, "ours"),
    "schedule.min_delta": (0.0, "ours"),
    "train.epochs": (90, "section 5, roughly 90 cycles"),
    "train.batch_size": (128, "section 5"),
    "train.log_every": (100, "ours"),
    "eval.batch_size": (128, "ours"),
    "checkpoint.every_steps": (1000, "ours"),
}

HE = {"model.initialization": ("he", "ours"), "network.initialization": ("he", "ours")}

SOURCE = {
    "model.name": ("alexnet_bn", "source"),
    "network.groups": (1, "source"),
    "network.lrn": (False, "source"),
    "network.norm": ("BatchNorm", "source"),
    "network.norm_place": ("before_pool", "source"),
    "network.pool_window": (3, "source"),
    "network.padding": (0, "source, 'valid'"),
    "network.dropout": (0.5, "source"),
    "network.hidden": ((4096, 4096), "source"),
    "network.initialization": ("glorot", "source, the default of Keras"),
    "data.source": ("cifar10", "source"),
    "data.train_split": ("train[:80%]", "source, 40,000; which is ours"),
    "data.eval_split": ("train[80%:]", "source, 10,000; which is ours"),
    "data.test_split": ("test", "source, with the last weights"),
    "data.image_size": (128, "source"),
    "data.normalization": ("unit", "source"),
    "augment.crop": ("center", "source, none"),
    "augment.flip": (False, "source, none"),
    "optimizer.name": ("adam", "source"),
    "optimizer.learning_rate": (1e-3, "source"),
    "optimizer.b1": (0.9, "source, the default of Keras"),
    "optimizer.b2": (0.999, "source, the default of Keras"),
    "optimizer.epsilon": (1e-7, "source, the default of Keras"),
    "optimizer.epsilon_hat": (True, "source, the form of Keras"),
    "optimizer.weight_decay": (2e-4, "source, the gradient of 1e-4 times the squares"),
    "optimizer.decay": ("kernels", "source, kernel_regularizer"),
    "optimizer.decay_layers": ("conv[2-5]", "source"),
    "schedule.kind": ("plateau", "source, ReduceLROnPlateau"),
    "schedule.monitor": ("objective", "source, val_loss"),
    "schedule.factor": (0.2, "source"),
    "schedule.patience": (5, "source"),
    "schedule.min_delta": (1e-4, "source, the default of Keras"),
    "schedule.max_reductions": (None, "source"),
    "schedule.early_stopping": (10, "source"),
    "train.epochs": (30, "source"),
    "train.batch_size": (64, "source"),
    "train.log_every": (50, "ours"),
}

TABLES = {
    "alexnet_imagenet": {
        "paper": PAPER,
        "modern": PAPER | modern.CHANGES | HE | {"optimizer.decay": ("kernels", "ours")},
    },
    "alexnet_cifar10": {
        "source": SOURCE,
        "pool_bn": {
            name: (value, "ours" if name.startswith(("optimizer", "schedule", "train")) else where)
            for name, (value, where) in SOURCE.items()
        }
        | {
            "model.name": ("alexnet_pool_bn", "source"),
            "network.norm_place": ("after_pool", "source"),
            "network.padding": ("SAME", "source"),
            "data.image_size": (224, "source"),
        },
    },
}
