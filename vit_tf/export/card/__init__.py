"""The model card: what a person who finds a bundle needs to know.

`of_bundle` reads all of it from the bundle; `tf_hub`, `hugging_face` and `kaggle` write
it as each of them has it; `write` keeps it in the bundle.
"""

from pathlib import Path

from vit_tf.export.card.facts import Card, of_bundle
from vit_tf.export.card.renderings import hugging_face, kaggle, tf_hub
from vit_tf.export.whole_file import write_text

__all__ = ["Card", "hugging_face", "kaggle", "of_bundle", "tf_hub", "write"]


def write(bundle: str | Path, name: str = "") -> None:
    """Writes a bundle's README.md anew, from what lies in the bundle.

    Args:
        bundle: The folder.
        name: What it is called, where the folder is called otherwise for now.
    """
    write_text(Path(bundle) / "README.md", tf_hub(of_bundle(bundle, name)))
