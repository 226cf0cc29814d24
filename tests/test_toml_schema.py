from __future__ import annotations

from typing import Annotated, Literal

import pydantic
import pytest

from sigmaquant.artifact import Frozen
from sigmaquant.errors import ConfigError
from sigmaquant.toml_schema import load_toml


class Circle(Frozen):
    shape: Literal["circle"]
    radius: float


class Square(Frozen):
    shape: Literal["square"]
    side_length: float


class Part(Frozen):
    name: str
    count: int = 1
    sizes: dict[int, float] = {}  # noqa: RUF012


class Drawing(Frozen):
    title: str
    visible: bool = True
    limit: int | str = 0
    outline: Annotated[Circle | Square, pydantic.Field(discriminator="shape")] | None = None
    parts: tuple[Part, ...] = ()
    main: Part | None = None


@pytest.fixture
def refuse(tmp_path):
    """Message of the ConfigError that a text gives, with the folder taken out."""

    def message(text):
        path = tmp_path / "drawing.toml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            load_toml(path, Drawing)
        return str(caught.value).replace(str(path), "drawing.toml")

    return message


def test_a_fitting_file_becomes_the_model(tmp_path):
    path = tmp_path / "drawing.toml"
    path.write_text(
        'title = "x"\nlimit = "no"\nmain.name = "m"\noutline = { shape = "circle", radius = 2 }\n'
        '[[parts]]\nname = "a"\nsizes = { 2 = 1, 8 = 0.5 }\n[[parts]]\nname = "b"\n',
        encoding="utf-8",
    )
    drawing = load_toml(path, Drawing)
    assert drawing == Drawing(
        title="x",
        limit="no",
        main=Part(name="m"),
        outline=Circle(shape="circle", radius=2.0),
        parts=(Part(name="a", sizes={2: 1.0, 8: 0.5}), Part(name="b")),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            '# a comment\n\ntitel = "x"\ntitle = "x"\n',
            "drawing.toml:3: unknown key 'titel'; did you mean 'title'?",
            id="top level",
        ),
        pytest.param(
            'title = """\ntitel = 1\n"""\ntitel = 1\n',
            "drawing.toml:4: unknown key 'titel'; did you mean 'title'?",
            id="after a text of several lines",
        ),
        pytest.param(
            'title = "x"\n[main]\nname = "m"\ncuont = 2\n',
            "drawing.toml:4: unknown key 'main.cuont'; did you mean 'count'?",
            id="table",
        ),
        pytest.param(
            'title = "x"\nmain.name = "m"\nmain."cuont" = 2\n',
            "drawing.toml:3: unknown key 'main.cuont'; did you mean 'count'?",
            id="dotted and quoted key",
        ),
        pytest.param(
            'title = "x"\nmain = { name = "m", cuont = 2 }\n',
            "drawing.toml:2: unknown key 'main.cuont'; did you mean 'count'?",
            id="inline table",
        ),
        pytest.param(
            'title = "x"\n[[parts]]\nname = "a"\n[[parts]]\nname = "b"\ncuont = 2\n',
            "drawing.toml:6: unknown key 'parts[1].cuont'; did you mean 'count'?",
            id="array of tables",
        ),
        pytest.param(
            'title = "x"\n[[parts]]\nname = "a"\n[[parts]]\nname = "b"\n[parts.sizes]\n8 = "big"\n',
            "drawing.toml:7: parts[1].sizes.8: expected a valid number, not 'big'",
            id="table in the latest of an array",
        ),
        pytest.param(
            'title = "x"\n[outline]\nshape = "square"\nradius = 2\nside_length = 1\n',
            "drawing.toml:4: unknown key 'outline.radius'; known: shape, side_length",
            id="key of another member of a union",
        ),
        pytest.param(
            'title = "x"\nzzz = 1\n',
            "drawing.toml:2: unknown key 'zzz'; known: limit, main, outline, parts, title, visible",
            id="nothing near",
        ),
    ],
)
def test_an_unknown_key_is_named_with_its_line_and_the_nearest(refuse, text, expected):
    assert refuse(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\ntitle = 5\n", "drawing.toml:2: title: expected a valid string, not 5"),
        ('title = "x"\nvisible = 1\n', "drawing.toml:2: visible: expected a valid boolean, not 1"),
        (
            'title = "x"\n[main]\nname = "m"\ncount = "3"\n',
            "drawing.toml:4: main.count: expected a valid integer, not '3'",
        ),
        (
            'title = "x"\nlimit = 1.5\n',
            "drawing.toml:2: limit: expected a valid integer, not 1.5; or "
            "limit: expected a valid string, not 1.5",
        ),
        ('title = "x"\nmain = 3\n', "drawing.toml:2: main: expected an object, not 3"),
        (
            'title = "x"\n[outline]\nshape = "star"\n',
            "drawing.toml:2: outline: Input tag 'star' found using 'shape' does not match any of "
            "the expected tags: 'circle', 'square'",
        ),
        ('title = "x"\n[outline]\n', "drawing.toml:2: missing key 'outline.shape'"),
        ('title = "x"\n[main]\ncount = 1\n', "drawing.toml:2: missing key 'main.name'"),
        ('title = "x"\n[main.sizes]\n', "drawing.toml:2: missing key 'main.name'"),
        ("visible = true\n", "drawing.toml: missing key 'title'"),
        (
            'title = "x"\n[[parts]]\nsizes = { a = 1.0 }\nname = "a"\n',
            "drawing.toml:3: parts[0].sizes.a: expected a valid integer, unable to parse string "
            "as an integer, not 'a'",
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_line_and_what_is_expected(refuse, text, expected):
    assert refuse(text) == expected


def test_all_problems_are_listed_in_order_of_lines(refuse):
    message = refuse('visible = 3\n[main]\nname = "m"\ncount = "x"\n')
    assert [line.partition(": ")[0] for line in message.splitlines()] == [
        "drawing.toml",
        "drawing.toml:1",
        "drawing.toml:4",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("title = \n", "drawing.toml:1: not TOML: Invalid value at column 9"),
        ('a = 1\ntitle = "x"\ntitle = "y"\n', "drawing.toml:3: not TOML: Cannot overwrite a value"),
        ('a = 1\nb = [1,\n"x', "drawing.toml:3: not TOML: "),
    ],
)
def test_what_is_not_toml_is_refused_with_its_line(refuse, text, expected):
    assert refuse(text).startswith(expected)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: cannot read the file: No such file"):
        load_toml(tmp_path / "none.toml", Drawing)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"cannot read the file: .*utf-8"):
        load_toml(binary, Drawing)
