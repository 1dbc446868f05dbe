"""What is typed becomes the configuration of a run."""

from __future__ import annotations

from typing import Any

import pytest

from fairquant_core.command_arguments import METHODS_TEXT, parser, run_config
from fairquant_core.command_line import HANDLERS
from fairquant_core.errors import BudgetError
from fairquant_core.quantization.catalogue import MENU, METHODS, RunConfig

NEEDED = ["run", "--cohort", "c", "--classifier", "m.safetensors", "--out", "o"]


def typed(*arguments: str) -> RunConfig:
    return run_config(parser(HANDLERS).parse_args([*NEEDED, *arguments]))


def test_without_arguments_it_is_the_default() -> None:
    assert typed() == RunConfig()


@pytest.mark.parametrize(
    ("arguments", "wishes"),
    [
        (["--bits", "3.5"], {"bits": 3.5}),
        (["--size-bytes", "1.5MB"], {"size_bytes": 1_500_000}),
        (["--size-bytes", "800 kB"], {"size_bytes": 800_000}),
        (["--size-bytes", "1,048,576"], {"size_bytes": 1_048_576}),
        (["--size-bytes", "1MiB"], {"size_bytes": 1_048_576}),
        (["--menu", "2", "4", "8"], {"menu": (2, 4, 8)}),
        (["--no-pruning"], {"menu": MENU}),
        (["--menu", "4", "2", "0", "--bits", "2"], {"menu": (0, 2, 4), "bits": 2.0}),
        (
            ["--pin", "head=8", "--pin", "blocks.0.0.conv=2", "--floor", "stem=4"],
            {"pins": {"head": 8, "blocks.0.0.conv": 2}, "floors": {"stem": 4}},
        ),
        (["--group-weight", "FST V-VI=2"], {"group_weights": {"FST V-VI": 2.0}}),
        (["--group-weight", "a=b=0.5"], {"group_weights": {"a=b": 0.5}}),
        (["--activation-bits", "8"], {"activation_bits": 8}),
        (["--method", "uniform_qat"], {"method": "uniform_qat", "fairness": "none"}),
        (
            ["--method", "static_qat", "--fairness", "gap"],
            {"method": "static_qat", "fairness": "gap"},
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_every_wish_can_be_typed(arguments: list[str], wishes: dict[str, Any]) -> None:
    assert typed(*arguments) == RunConfig(**wishes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size-bytes", "small"], "'small' is no size"),
        (["--size-bytes", "1.5 apples"], "is no size"),
        (["--pin", "head"], "'head' is not NAME=BITS"),
        (["--pin", "head=much"], "is not NAME=BITS"),
        (["--group-weight", "=2"], "is not NAME=WEIGHT"),
        (["--bits", "4", "--size-bytes", "1MB"], "not allowed with argument"),
        (["--activation-bits", "4"], "invalid choice"),
    ],
)
def test_what_cannot_be_read_is_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        typed(*arguments)
    assert message in capsys.readouterr().err


def test_what_contradicts_itself_is_refused_by_the_configuration() -> None:
    with pytest.raises(BudgetError, match="below its own floor"):
        typed("--pin", "head=2", "--floor", "head=4")


def test_help_explains_every_method(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser(HANDLERS).parse_args(["run", "--help"])
    shown = capsys.readouterr().out
    assert METHODS_TEXT in shown
    assert all(
        card.name in METHODS_TEXT and card.title in METHODS_TEXT for card in METHODS.values()
    )
