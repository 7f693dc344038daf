"""The README says what was measured."""

import re

import pytest

from wyk.plots.readme import README, sections, with_sections
from wyk.plumbing.paths import ROOT


@pytest.fixture(scope="module")
def readme() -> str:
    return README.read_text(encoding="utf-8")


def test_the_readme_holds_the_measured_numbers(readme):
    assert with_sections(readme, sections()) == readme, "run: python -m wyk.plots.readme"


@pytest.mark.parametrize("name", ["table 1", "likelihoods", "starts", "ratios"])
def test_the_check_sees_another_number(readme, name):
    texts = sections()
    digit = re.search(r"\d(?=\D*$)", texts[name])
    changed = str((int(digit[0]) + 1) % 10)
    texts[name] = texts[name][: digit.start()] + changed + texts[name][digit.end() :]
    assert with_sections(readme, texts) != readme


def test_a_part_without_a_place_is_an_error():
    with pytest.raises(ValueError, match="0 places"):
        with_sections("# wyk", {"likelihoods": ""})


def test_what_the_readme_shows_and_links_exists(readme):
    links = re.findall(r"\]\((?!http)([^)#]+)", readme)
    assert len(links) > 5
    assert not [path for path in links if not (ROOT / path).exists()]
