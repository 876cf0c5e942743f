"""What `experiments/modern.py` changes of every paper's recipe for ImageNet; all of it is ours."""

CHANGES = {
    "model.dtype": ("bfloat16", "ours"),
    "data.normalization": ("mean_std", "ours"),
    "augment.scale_min": (None, "ours"),
    "augment.scale_max": (None, "ours"),
    "augment.eval_scale": (256, "ours"),
    "augment.central_square": (False, "ours"),
    "augment.crop": ("area", "ours"),
    "augment.area_min": (0.08, "ours"),
    "augment.aspect_max": (4 / 3, "ours"),
    "augment.interpolation": ("usual", "ours"),
    "augment.flip": (True, "ours"),
    "augment.color_shift": (0.0, "ours"),
    "augment.photometric": (0.0, "ours"),
    "augment.mixup": (0.2, "ours"),
    "augment.cutmix": (1.0, "ours"),
    "optimizer.name": ("momentum", "ours"),
    "optimizer.ema": (0.9999, "ours"),
    "optimizer.polyak": (None, "ours"),
    "optimizer.filter_rms": (None, "ours"),
    "schedule.kind": ("cosine", "ours"),
    "schedule.warmup_epochs": (5, "ours"),
    "schedule.factor": (0.1, "ours"),
    "schedule.max_reductions": (None, "ours"),
    "train.steps": (None, "ours"),
    "train.label_smoothing": (0.1, "ours"),
    "train.exact_statistics": (0, "ours"),
}

TABLES: dict = {}
