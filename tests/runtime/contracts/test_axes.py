"""Derived axes against Python's own arithmetic, and the refusal of everything that is none."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_runtime.contracts.axes import LONGEST, is_name, names_in, size_of

NAMES = ("batch", "height", "width")
SIZES = st.fixed_dictionaries({name: st.integers(1, 3000) for name in NAMES})


def either(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """An expression of one or two others."""
    return st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from("+-*"), inner),
        st.builds("{}({} / {})".format, st.sampled_from(["ceil", "floor"]), inner, st.integers(1, 64)),
    )


EXPRESSIONS = st.recursive(st.sampled_from(NAMES) | st.integers(0, 99).map(str), either, max_leaves=6)


@settings(deadline=None, max_examples=300)
@given(axis=EXPRESSIONS.filter(lambda axis: len(axis) <= LONGEST), sizes=SIZES)
def test_a_size_is_what_python_computes(axis: str, sizes: dict[str, int]) -> None:
    exact = axis.replace("ceil(", "math.ceil(").replace("floor(", "math.floor(")
    assert size_of(axis, sizes) == eval(exact, {"math": math}, sizes)
    assert set(names_in(axis)) == {name for name in NAMES if name in axis}


@pytest.mark.parametrize(
    ("axis", "height", "size"),
    [
        (7, 1, 7),
        ("height", 5, 5),
        ("ceil(height / 8)", 1, 1),
        ("ceil(height / 8)", 8, 1),
        ("ceil(height / 8)", 9, 2),
        ("floor(height / 8)", 7, 0),
        ("2 * height + 1", 5, 11),
        ("2 * (height + 1)", 5, 12),
        ("ceil(height / 8) * ceil(height / 8)", 9, 4),
        ("ceil((height - 9) / 2)", 4, -2),
        ("floor((height - 9) / 2)", 4, -3),
        ("10", 3, 10),
    ],
)
def test_sizes(axis: int | str, height: int, size: int) -> None:
    assert size_of(axis, {"height": height}) == size


def test_names_come_once_and_in_order() -> None:
    assert names_in("width * ceil(height / 8) + width") == ("width", "height")
    assert names_in(3) == names_in("3") == ()
    assert [is_name(axis) for axis in ("height", "(height)", "height + 0", "3", 3)] == [
        True,
        False,
        False,
        False,
        False,
    ]


def test_a_name_without_a_size_is_an_error() -> None:
    with pytest.raises(KeyError, match="height"):
        size_of("ceil(height / 8)", {"width": 3})


@pytest.mark.parametrize(
    "axis",
    [
        "",
        " ",
        "a b",
        "height,",
        "(height, width)",
        "[height]",
        "1.5",
        "True",
        "None",
        "'a'",
        "-height",
        "not height",
        "height / 8",
        "height // 8",
        "height % 8",
        "height ** 2",
        "height << 1",
        "height @ width",
        "height if width else 1",
        "height < width",
        "height and width",
        "height.real",
        "height[0]",
        "lambda: 1",
        "[x for x in y]",
        "(x := 1)",
        "f'{height}'",
        "ceil(height)",
        "ceil(height, 8)",
        "ceil(height * 8)",
        "ceil(height / 8, 1)",
        "ceil(height / 8, digits=1)",
        "ceil(*height / 8)",
        "ceil(height / 0)",
        "ceil(height / width)",
        "ceil(height / True)",
        "ceil(height / 2.0)",
        "ceil(height / -8)",
        "ceil(height // 8)",
        "round(height / 8)",
        "math.ceil(height / 8)",
        "ceil.floor(height / 8)",
        "__import__('os').system('true')",
        "__import__('os')",
        "exec('x')",
        "eval(height / 8)",
        "height\0",
        "höhe",
        "ﬁ",
        "height; width",
        "height = 3",
        "import os",
        "9" * 10_000,
        "(" * 5000 + "height" + ")" * 5000,
        "(" * 47 + "height" + ")" * 46,
        "height" + " + height" * 5000,
        "ceil(" * 3000 + "height" + " / 8)" * 3000,
    ],
    ids=lambda axis: axis[:24].replace("\0", "0"),
)
def test_everything_else_is_refused(axis: str) -> None:
    for reader in (names_in, is_name, lambda axis: size_of(axis, {"height": 3, "width": 3})):
        with pytest.raises(ValueError, match="axis "):
            reader(axis)


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=120) | st.text("()/*+-12 ,.ceilhtabx", max_size=120))
def test_any_text_is_an_axis_or_a_value_error(axis: str) -> None:
    try:
        names = names_in(axis)
    except ValueError:
        return
    assert isinstance(size_of(axis, dict.fromkeys(names, 7)), int)
