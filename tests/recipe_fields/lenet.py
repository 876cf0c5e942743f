"""LeNet-5 (LeCun, Bottou, Bengio & Haffner 1998) and the source's networks for MNIST."""

DATA = {
    "data.source": ("mnist", "source"),
    "augment.crop": ("center", "source, no augmentation"),
    "augment.flip": (False, "source, no augmentation"),
}
FIRST = DATA | {
    "model.name": ("mnist_cnn", "source"),
    "model.initialization": ("glorot", "ours"),
    "network.width": (16, "source"),
    "network.hidden": ((100,), "source"),
    "network.dropout": (0.0, "source"),
    "data.image_size": (28, "source"),
    "data.padding": (0, "source"),
    "data.normalization": ("unit", "source"),
    "optimizer.name": ("adam", "source"),
    "optimizer.learning_rate": (2e-4, "source"),
    "schedule.kind": ("constant", "source"),
    "train.loss": ("cross_entropy", "source"),
    "train.batch_size": (256, "source"),
    "train.epochs": (10, "source"),
    "train.log_every": (50, "ours"),
}
MODERN = DATA | {
    "model.name": ("lenet5", "source"),
    "model.initialization": ("glorot", "ours"),
    "network.width": (6, "source"),
    "network.dropout": (0.0, "source"),
    "data.image_size": (32, "source"),
    "data.padding": (2, "source"),
    "data.normalization": ("unit", "ours"),
    "optimizer.name": ("adam", "ours"),
    "optimizer.learning_rate": (1e-3, "ours"),
    "schedule.kind": ("cosine", "ours"),
    "train.loss": ("cross_entropy", "source, log-softmax and negative log-likelihood"),
    "train.batch_size": (128, "ours"),
    "train.epochs": (10, "ours"),
    "train.log_every": (50, "ours"),
}
LENET_1998 = DATA | {
    "model.name": ("lenet5_1998", "section II.B"),
    "network.dropout": (0.0, "section II.B"),
    "data.source": ("mnist", "section III.A"),
    "data.image_size": (32, "section II.B"),
    "data.padding": (2, "section II.B, 28 x 28 in 32 x 32"),
    "data.normalization": ("lenet", "section II.B, background -0.1, ink 1.175"),
    "augment.crop": ("center", "section III.B, without distortions"),
    "augment.flip": (False, "section III.B, without distortions"),
    "optimizer.name": ("levenberg_marquardt", "appendix C"),
    "optimizer.learning_rate": (5e-4, "section III.B, the first of the table"),
    "optimizer.damping": (0.02, "section III.B"),
    "optimizer.curvature_examples": (500, "section III.B"),
    "schedule.kind": ("table", "section III.B"),
    "schedule.table": (("0=5e-4", "2=2e-4", "5=1e-4", "8=5e-5", "12=1e-5"), "section III.B"),
    "train.loss": ("map", "equation 9"),
    "train.batch_size": (1, "section III.B, stochastic gradient"),
    "train.epochs": (20, "section III.B"),
    "train.log_every": (1000, "ours"),
}
TABLES = {
    "cnn_mnist": {"mnist": FIRST},
    "lenet_mnist": {"modern": MODERN, "lenet_1998": LENET_1998},
}
