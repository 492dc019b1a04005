"""One file a family: `VARIANTS`, and `get_config(variant)` for `config_flags`."""
