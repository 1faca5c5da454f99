from __future__ import annotations

from xcompose import registry
from xcompose.compare.picture import Picture, picture, pictures_of, side_by_side


def shown(name: str, kind: str = "pattern") -> str:
    return "\n".join(pictures_of(registry.load().component(kind, name)))


def test_a_window_is_drawn_as_its_card_says():
    assert shown("window") == (
        "window(3)           in a decoder        window(3, dilation=2)\n"
        "■■■■············    ■···············    ■···············\n"
        "■■■■■···········    ■■··············    ·■··············\n"
        "■■■■■■··········    ■■■·············    ■·■·············\n"
        "■■■■■■■·········    ■■■■············    ·■·■············\n"
        "·■■■■■■■········    ·■■■■···········    ■·■·■···········\n"
        "··■■■■■■■·······    ··■■■■··········    ·■·■·■··········\n"
        "···■■■■■■■······    ···■■■■·········    ■·■·■·■·········\n"
        "····■■■■■■■·····    ····■■■■········    ·■·■·■·■········\n"
        "·····■■■■■■■····    ·····■■■■·······    ··■·■·■·■·······\n"
        "······■■■■■■■···    ······■■■■······    ···■·■·■·■······\n"
        "·······■■■■■■■··    ·······■■■■·····    ····■·■·■·■·····\n"
        "········■■■■■■■·    ········■■■■····    ·····■·■·■·■····"
    )


def test_what_changes_nothing_in_a_decoder_is_drawn_in_an_encoder():
    assert shown("blocks").splitlines()[0].split("    ")[-1].strip() == "blocks(3, ahead=1), encoder"
    assert shown("global").splitlines()[0].split("    ")[-1].strip() == "global(3, last=1), encoder"


def test_what_cannot_be_drawn_is_not():
    assert shown("union") == ""
    assert shown("lsh") == ""
    assert shown("rotary", "position") == ""


def test_every_pattern_s_picture_has_one_size():
    for component in registry.load().components("pattern"):
        lines = pictures_of(component)
        assert len(lines) in (0, 13), component.name


def test_a_pattern_alone_is_drawn_at_any_size():
    window = registry.load().component("pattern", "window").options(size=1)

    assert picture(window, causal=False, rows=3, columns=5) == ("■■···", "■■■··", "·■■■·")


def test_pictures_of_several_heights_stand_side_by_side():
    assert side_by_side([Picture("a", ("■", "·")), Picture("long title", ("■",))]) == [
        "a    long title",
        "■    ■",
        "·",
    ]
