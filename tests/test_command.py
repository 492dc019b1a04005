"""What every command does with its flags, and with what goes wrong."""

import pytest
from absl import flags

from vit_tf import command


@pytest.fixture
def values():
    values = flags.FlagValues()
    flags.DEFINE_string("bundle", "", "a bundle; of convert.py", flag_values=values)
    flags.DEFINE_string("out", "", "a folder", flag_values=values)
    flags.DEFINE_integer("limit", 0, "how many", flag_values=values)
    flags.DEFINE_bool("help", False, "show this", flag_values=values)
    return values


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(2, "No such file", "a"), "No such file: a"),
        (OSError(18, "Cross-device link", "a", None, "b"), "Cross-device link: a: b"),
        (OSError(28, "No space left"), "No space left"),
        (ValueError("wrong"), "wrong"),
        (KeyError("x"), "KeyError: 'x' (--debug shows where)"),
        (ValueError(""), "ValueError:  (--debug shows where)"),
    ],
)
def test_an_error_is_said_with_what_it_is_about(error, said):
    assert command.message(error) == said


def ended(main, *arguments, **options):
    with pytest.raises(SystemExit) as end:
        command.run("name", main, ["name", *arguments], **options)
    return end.value.code


def test_a_command_that_fails_says_one_thing(capsys):
    def main(argv):
        raise ValueError("wrong")

    assert ended(main) == "name: error: wrong"
    assert capsys.readouterr().err == ""
    assert ended(main, "--debug") == "name: error: wrong"
    assert "Traceback" in capsys.readouterr().err


def test_a_command_that_is_stopped_says_what_then(capsys):
    def main(argv):
        raise KeyboardInterrupt

    assert ended(main, stopped="stopped; go on") == 130
    assert capsys.readouterr().err == "\nname: stopped; go on\n"


def test_a_command_that_succeeds_just_ends():
    seen = []
    command.run("name", seen.append, ["name", "--limit=3"])
    assert seen == [["name", "--limit=3"]]


def test_flags_of_an_earlier_run_are_forgotten(values):
    assert command.parse(values, ["name", "--limit=3", "other"], "") == ["other"]
    assert values.limit == 3
    assert command.parse(values, ["name"], "") == []
    assert values.limit == 0


@pytest.mark.parametrize(
    ("argument", "said"),
    [("--limti=3", "limti.*see --help"), ("--limit=x", "--limit=x.*see --help")],
)
def test_a_wrong_flag_is_named(values, argument, said):
    with pytest.raises(ValueError, match=said):
        command.parse(values, ["name", argument], "")


def test_help_is_printed(values, capsys):
    with pytest.raises(SystemExit) as end:
        command.parse(values, ["name", "--help"], "What it does.")
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("What it does.")
    assert "--limit" in out


def test_every_flag_that_is_missing_is_named(values):
    command.parse(values, ["name"], "")
    missing = "--bundle is missing: a bundle; --out is missing: a folder"
    with pytest.raises(ValueError, match=missing):
        command.check_given(values, ("bundle", "out"), [])


def test_what_is_no_flag_is_named(values):
    command.parse(values, ["name", "--out=x"], "")
    command.check_given(values, ("out",), [])
    with pytest.raises(ValueError, match="'more' found; expected: flags only"):
        command.check_given(values, ("out",), ["more"])
