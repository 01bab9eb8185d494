"""What the code does not say of itself: when a name is worth choosing."""

NORMS = {
    "none": "The baseline. Shallow networks with good weights may need nothing.",
    "batch": "Image models with at least a few dozen images per batch. Training and"
    " evaluation differ, so look at the probe `mode_gap`.",
    "scalar_batch": "Only to repeat a source that normalized whole tensors: it does not"
    " make features comparable.",
    "frozen": "Fine-tuning with the statistics of a trained `BatchNorm`.",
    "layer": "Transformers, recurrent and fully connected networks, any batch size."
    " On images it normalizes each pixel by itself.",
    "rms": "As `layer`, when the mean is not worth its cost; usual in language models.",
    "layer_example": "Layer norm over a whole image, as its paper defines it.",
    "group": "Image models whose batches are too small for `batch`.",
    "instance": "Style transfer and image generation, where contrast must not matter.",
    "dyt": "Transformers without statistics; `alpha` then needs tuning.",
    "derf": "As `dyt`, with another squashing function and a learned shift.",
    "local_response": "Only to repeat AlexNet and its contemporaries.",
    "weight": "Where noise of batches hurts, as in reinforcement learning. It is cheap:"
    " it normalizes kernels, not activations.",
    "weight_standardization": "With `group` in image models of small batches; here the"
    " two come together.",
    "spectral": "Discriminators of GANs, and wherever a Lipschitz bound is wanted.",
    "batch_renorm": "Small or dependent batches, when evaluation must stay that of"
    " `batch`. Shorten its schedule for short runs.",
    "ghost": "Large batches, for the noise of small ones.",
    "power": "Transformers for language with batch statistics. This is its first form.",
    "online": "Batches of one image; it has state that follows the order of examples.",
    "switchable": "When it is not known which of `instance`, `layer` and `batch` fits:"
    " it learns a mixture.",
    "frn": "Image models at any batch size; it replaces the norm and its activation.",
    "evonorm_s0": "As `frn`, from a search over layers; statistics of each example.",
    "evonorm_b0": "As `evonorm_s0`, with statistics of the batch.",
}
PAPERS = {
    "evonorm_b0": "that of `evonorm_s0`",
    "scalar_batch": "an assignment that is reproduced here: [claims](../claims.md)",
}
MODELS = {
    "mlp": "Dense layers of `model.widths`, or `model.depth` layers of one width.",
    "cnn": "3x3 convolutions of `model.widths` (see `model.kernel_size`), max-pooling"
    " after every `model.convs_per_pool`, then one dense layer.",
    "resnet20": "The ResNet-20 of He et al. (2016) for CIFAR-10: three stages of three"
    " blocks; `model.widths` are those of the stages.",
}
INITS = {
    "glorot_normal": "Variance `2 / (fan_in + fan_out)`, normal (truncated).",
    "glorot_uniform": "The same variance, uniform: the default of Keras.",
    "he_normal": "Variance `2 / fan_in`, normal (truncated): the default here.",
    "he_uniform": "Variance `2 / fan_in`, uniform.",
    "lecun_normal": "Variance `1 / fan_in`, normal (truncated): the default of flax.",
    "normal": "Normal with standard deviation 1; it is meant for `init_scale`.",
    "normal_tenth": "Normal with standard deviation 0.1.",
    "orthogonal": "Orthogonal matrices.",
    "torch_default": "Kernels and biases uniform in `+-1 / sqrt(fan_in)`, as torch.nn"
    " has them for `Linear` and `Conv2d`.",
}
PENALTIES = {
    "none": "nothing",
    "l2": "Adds `l2 / (2 * num_train) * sum of squared kernels` to the loss",
    "l2_batch": "Adds `l2 / (2 * batch_size) * sum of squared kernels` to the loss",
    "dropout": "Drops units after each hidden activation",
    "weight_decay": "Adds `-learning_rate * weight_decay * kernel` to the step",
}
PROBES = {
    "third_moment": "Does the third moment do anything that Adam does not?",
    "smoothness": "How far does the gradient change along a step?",
    "magnitudes": "Which layers learn, explode or stand still?",
    "mode_gap": "Does batch norm compute something else in evaluation?",
    "train_split": "Is a lower test accuracy overfitting, or bad optimization?",
    "precise": "Do the moving averages of batch norm lag behind?",
}
