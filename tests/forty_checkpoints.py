"""Forty checkpoints of all kinds under Ray, through kills of workers and driver.

    python -m pytest tests/forty_checkpoints.py

As `test_batch_kills.py`, for minutes.
"""

from test_batch_kills import converted_through_kills

# What is only ended once the driver was killed comes last.
KINDS = (
    ["good", "truncated", "hostile", "nan", "mismatched"] * 5
    + ["hangs", "truncated", "hostile"]
    + ["good", "truncated", "hostile"] * 2
    + ["good", "nan", "good", "mismatched", "good", "eats"]
)


def test_what_becomes_of_forty_checkpoints(tmp_path):
    assert len(KINDS) == 40
    converted_through_kills(tmp_path, KINDS, workers_at=(2, 8), driver_at=16)
