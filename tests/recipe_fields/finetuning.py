"""Fine-tuning on pictures of one's own, for which the papers have no recipe."""

HEAD = {
    "model.name": ("vgg16", "ours"),
    "model.weights": ("vgg16-397923af.pth", "ours"),
    "data.source": ("./pictures", "ours"),
    "data.eval_split": ("validation", "ours"),
    "data.normalization": (None, "ours, as for the weights"),
    "augment.scale_min": (256, "ours"),
    "augment.scale_max": (256, "ours"),
    "optimizer.learning_rate": (1e-2, "ours"),
    "optimizer.freeze": ("(?!logits).*", "ours"),
    "schedule.kind": ("cosine", "ours"),
    "train.epochs": (10, "ours"),
    "train.batch_size": (32, "ours"),
    "train.auxiliary_weight": (0.0, "ours"),
    "train.log_every": (10, "ours"),
}

TABLES = {
    "finetune": {
        "head": HEAD,
        "all": HEAD
        | {
            "optimizer.learning_rate": (1e-3, "ours"),
            "optimizer.weight_decay": (1e-4, "ours"),
            "optimizer.freeze": (None, "ours"),
            "optimizer.multipliers": (("(.*/)?logits=10",), "ours"),
            "train.auxiliary_weight": (0.3, "ours"),
        },
    }
}
