"""The recipe of `python -m vit_tf.finetune`, by the names of timm's train.py.

The defaults fine-tune a model that was trained before: a small learning rate, less of
it in lower layers, little augmentation. What is 0 or None is not done.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 42

    # Data. A split that is not named is looked for: train; validation, val or test.
    config.train_split = ""
    config.val_split = ""
    config.val_share = 0.1  # of each class, held out where there is no other split
    config.batch_size = 64  # over all devices

    # Training.
    config.epochs = 20
    config.opt = "adamw"  # lamb, sgd, momentum
    config.lr = 1e-4
    config.weight_decay = 0.05
    config.momentum = 0.9  # of sgd and momentum
    config.opt_betas = (0.9, 0.999)  # of adamw and lamb
    config.opt_eps = placeholder(float)  # theirs; None: torch's and timm's
    config.layer_decay = 0.75  # 1: all layers learn alike
    config.warmup_epochs = 2
    config.warmup_lr = 1e-6
    config.min_lr = 1e-6
    config.sched_on_updates = False  # the rate moves within an epoch, too
    config.clip_grad = placeholder(float)  # the norm of all gradients
    config.grad_accum_steps = 1
    config.model_ema_decay = placeholder(float)
    config.model_ema_warmup = False
    config.bce_loss = False
    config.bce_target_thresh = placeholder(float)
    config.smoothing = 0.1
    config.drop = 0.0
    config.drop_path = 0.1

    # What trains.
    config.freeze = ()  # timm's names of parameters or modules
    config.freeze_layers = 0  # the lowest: the stem is one, each block another
    config.train_only = ""  # head; attention or norms, and the head
    config.lora = 0  # the rank; 0: none
    config.lora_alpha = placeholder(float)

    # Images.
    config.scale = (0.08, 1.0)
    config.ratio = (3 / 4, 4 / 3)
    config.hflip = 0.5
    config.vflip = 0.0
    config.color_jitter = 0.4
    config.aa = placeholder(str)  # rand-m9-mstd0.5-inc1
    config.train_interpolation = placeholder(str)  # None: that of the bundle
    config.reprob = 0.0
    config.remode = "pixel"
    config.recount = 1
    config.mixup = 0.0
    config.cutmix = 0.0
    config.mixup_prob = 1.0
    config.mixup_switch_prob = 0.5
    config.mixup_mode = "batch"

    # The machine.
    config.dtype = ""  # mixed_bfloat16, mixed_float16; the bundle's
    config.grad_checkpointing = False
    config.jit_compile = False
    return config
