"""timm's layers in Keras: one file each, named as timm's."""
