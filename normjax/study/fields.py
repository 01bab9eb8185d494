"""The fields of a config: their defaults, which give their types, and their rules."""

from typing import Any

DEFAULTS: dict[str, Any] = {
    "study": "study",  # its name, on the page and in the record
    "question": "",  # one sentence
    "audit": "",  # dotted name of a module with claims: see report.audit_interface
    "root_seed": 0,  # of the split of the data and of all seeds
    "num_seeds": 10,  # in each arm and setting
    "seeds": (),  # the first num_seeds of these, or 0, 1, 2, ...
    "num_epochs": 10,  # of each network
    "batch_size": 128,  # examples per step
    "last_batch": "dropped",  # what is left of an epoch; or "kept", as a smaller step
    "schedule": "constant",  # of the learning rate, which is its peak
    "reference_batch_size": 0,  # rates are times batch size / this; 0: as given
    "sampling": "permutation",  # of the training split: a row of splits.SAMPLINGS
    "augmentation": "none",  # a row of data.augmentation, or a dotted name
    "precision": "float32",  # in which networks compute; or "bfloat16"
    "target_accuracy": 0.85,  # on the test split, for the steps needed to reach it
    "probes": (),  # what is measured beside loss and accuracy
    "mapping": "auto",  # of lanes on devices: docs/performance.md, "Mapping lanes"
    "lanes_per_group": 0,  # trained and kept together; 0: at most 1000 that fit
    "checkpoint_seconds": 120.0,  # of training between checkpoints; 0: every epoch
    "protocols": {},  # name -> factor -> level -> what is built in its place
    "readings": {},  # the same, of what a source leaves open: for arms.reading
    "data": {
        "name": "digits",  # an image classification set of TFDS, or an .npz
        "dir": "",  # of TFDS sets; TFDS_DATA_DIR or the library's default if empty
        "num_train": 0,  # 0: all that validation leaves
        "subset": "shared",  # of that many: the same for all seeds; or "per_seed"
        "num_validation": 200,  # not used where the data brings a validation split
        "num_test": 0,  # the first of the test split; 0: all
        "scaling": "unit",  # of the inputs: a row of data.scalings
    },
    "model": {
        "name": "mlp",  # or the dotted name of a module of flax.linen
        "widths": (128, 128),  # of hidden layers, convolutions or stages
        "kernel_size": 3,  # of the convolutions of a CNN, odd
        "convs_per_pool": 1,  # of a CNN: convolutions before a max-pool
        "depth": 0,  # hidden layers, all of the one width; 0: as many as widths
        "kernel_init": "he_normal",  # of layers.initial_weights, with biases
        "batch_norm": "",  # a row of layers.PRESETS; empty: decay 0.9, eps 1e-5
        "convolution": "auto",  # a row of ops.conv.IMPLEMENTATIONS, or auto
        "kwargs": {},  # fields of a model of the user's own, by name
    },
    "arms": {  # factor -> its levels; each combination compiles once
        "protocol": ("corrected",),  # corrected, or a name of protocols
        "norm": (),  # rows of NORMS; empty: none, or own for a user's model
        "placement": ("pre",),  # of the norm: rows of models.PLACEMENTS
        "optimizer": ("sgd",),  # rows of RECIPES, or dotted names: optax.lamb
        "penalty": ("none",),  # rows of levels.PENALTY_SETTINGS
        "reading": (),  # ours, or a name of readings; empty: ours alone
        # of the fields that FACTOR_FIELDS names; empty: the field's own value alone
        "batch_size": (),
        "sampling": (),
        "schedule": (),
        "model": (),
        "depth": (),
        "kernel_init": (),
        "augmentation": (),
        "precision": (),
    },
    "unstated": (),  # factors that a source left open: see audit.claims
    "baseline": {},  # factor -> level: the arm that paired differences are taken to
    "settings": dict.fromkeys(  # traced: their grid shares a compilation; () = default
        (
            *("learning_rate", "momentum", "decay", "b1", "b2", "b3", "eps"),
            *("l2", "weight_decay", "dropout_rate", "init_scale", "label_smoothing"),
            *("clip_norm", "warmup_fraction", "final_fraction"),
            *("decay_factor", "first_boundary", "second_boundary"),
        ),
        (),
    ),
    "settings_for": {},  # factor -> level -> setting -> grid, in the place of settings
    "tuning": {  # of the settings of each arm, by validation: see study.tuning
        "search": "none",  # grid: all settings; random: draws from ranges (low, high)
        "num_seeds": 3,  # of each trial; no network is judged at these seeds
        "num_trials": 16,  # of each arm, random only
        "choose": (),  # factors whose level is chosen too
    },
}
# fields of `model` that fit one model only, and other defaults of them by its name
SHAPE = ("widths", "kernel_size", "convs_per_pool", "depth", "kwargs")
MODEL_DEFAULTS: dict[str, dict[str, Any]] = {
    "cnn": {"widths": (16, 32)},
    "resnet20": {"widths": (16, 32, 64)},
}
SYNONYMS = {  # what a field is called elsewhere, or its place -> the field
    **dict.fromkeys(("lr", "rate", "step_size"), "settings.learning_rate"),
    **dict.fromkeys(("epochs", "num_train_epochs", "max_epochs"), "num_epochs"),
    **dict.fromkeys(("seed", "random_seed", "rng_seed"), "root_seed"),
    **dict.fromkeys(("num_runs", "runs", "repeats"), "num_seeds"),
    **dict.fromkeys(("batchsize", "bs"), "batch_size"),
    **dict.fromkeys(("dataset", "datasets"), "data.name"),
    **dict.fromkeys(("norms", "normalization"), "arms.norm"),
    **dict.fromkeys(("optimizers", "opt", "tx"), "arms.optimizer"),
    **dict.fromkeys(("dropout", "regularizer"), "arms.penalty"),
    "data_dir": "data.dir",
    "wd": "settings.weight_decay",
    "epsilon": "settings.eps",
    "beta1": "settings.b1",
    "beta2": "settings.b2",
    "grad_clip": "settings.clip_norm",
    "warmup": "settings.warmup_fraction",
    "hidden": "model.widths",
    "hidden_sizes": "model.widths",
    "init": "model.kernel_init",
    "dtype": "precision",
}
FACTOR_FIELDS = {  # factor -> the field in whose place its levels are
    "batch_size": "batch_size",
    "sampling": "sampling",
    "schedule": "schedule",
    "model": "model.name",
    "depth": "model.depth",
    "kernel_init": "model.kernel_init",
    "augmentation": "augmentation",
    "precision": "precision",
}
LAST_BATCHES = ("dropped", "kept")
NUMBER_FACTORS = ("batch_size", "depth")  # whose levels are whole numbers
OPTIONAL = ("reading", *FACTOR_FIELDS)  # factors that a study may lack
OPEN = (
    "protocols",
    "readings",
    "baseline",
    "settings",
    "settings_for",
)  # groups that take names of the user
OPEN_FIELDS = ("model.kwargs",)  # groups in groups that do

LIMIT = 2**31  # of whole numbers that jax counts with
POSITIVE = ("from 1 to 2^31 - 1", lambda x: 1 <= x < LIMIT)
FIELD_RULES = {  # field -> (rule, test)
    "num_seeds": ("from 1 to 10000", lambda x: 1 <= x <= 10_000),
    "tuning.num_seeds": ("from 1 to 10000", lambda x: 1 <= x <= 10_000),
    "tuning.num_trials": ("from 1 to 100000", lambda x: 1 <= x <= 100_000),
    "num_epochs": ("from 1 to 1000000", lambda x: 1 <= x <= 1_000_000),
    "batch_size": POSITIVE,
    "target_accuracy": ("in (0, 1]", lambda x: 0 < x <= 1),
    "root_seed": ("from 0 to 2^32 - 1", lambda x: 0 <= x < 2**32),
    "data.num_train": ("at least 0 (0: all that remain)", lambda x: x >= 0),
    "data.num_validation": POSITIVE,
    "data.num_test": ("at least 0 (0: all)", lambda x: x >= 0),
    "lanes_per_group": ("from 0 (what fits) to 100000", lambda x: 0 <= x <= 100_000),
    "checkpoint_seconds": ("at least 0 (0: every epoch)", lambda x: x >= 0),
    "reference_batch_size": (
        "from 0 (rates as given) to 2^31 - 1",
        lambda x: 0 <= x < LIMIT,
    ),
    "model.widths": (
        "one or more whole numbers from 1 to 2^31 - 1",
        lambda x: len(x) > 0 and all(type(w) is int and 1 <= w < LIMIT for w in x),
    ),
    "model.depth": ("from 0 (as many as widths) to 1000", lambda x: 0 <= x <= 1_000),
    "model.kernel_size": ("odd, from 1 to 999", lambda x: 1 <= x < 1000 and x % 2 == 1),
    "model.convs_per_pool": POSITIVE,
    "seeds": (
        "distinct whole numbers from 0 to 2^31 - 1",  # from there on they tune
        lambda x: (
            all(type(s) is int and 0 <= s < LIMIT for s in x) and len(set(x)) == len(x)
        ),
    ),
}
