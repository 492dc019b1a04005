"""From a bundle to a fine-tuned bundle: `python -m vit_tf.finetune`."""
