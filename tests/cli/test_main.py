"""The ``wyk`` command as a person meets it: help, usage, errors, exit codes."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from wyk.cli import main as cli
from wyk.cli import options
from wyk.crystals.representation import WyckoffRepresentation
from wyk.crystals.tables import from_table, to_table, write_representations
from wyk.files import datasets

COMMANDS = (
    "represent",
    "train",
    "sample",
    "generate",
    "structures",
    "reference",
    "evaluate",
    "compare",
    "likelihood",
    "diffusion",
    "trials",
    "sweep",
    "recovery",
    "conditional",
    "match",
    "baseline",
    "diffcsp",
    "summarise",
)
LIKELIHOOD = ["likelihood", "nowhere.cif", "--model", "nowhere", "-o", "out.parquet"]
SWEEP = ["sweep", "--model", "nowhere", "-n", "3", "--reference", "nowhere.cif"]
SWEEP += ["--training", "nowhere.cif", "-o", "out.csv"]
STRUCTURES = ["structures", "nowhere.parquet", "-o", "out"]
EVALUATE = ["evaluate", "nowhere.cif", "--reference", "aflow:test", "-o", "out"]
SAMPLE = ["sample", "--model", "nowhere", "-n", "3", "-o", "out.parquet"]


def invoke(*arguments: str):
    return CliRunner().invoke(cli.app, arguments)


def main(monkeypatch, *arguments: str) -> int:
    """Exit code of the console command."""
    monkeypatch.setattr(sys, "argv", ["wyk", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code or 0


def test_the_usual_draws_are_those_of_the_library():
    """Written twice, so that --help need not load pyXtal and CHGNet."""
    from wyk.structures import building as structures

    assert tuple(options.draws(options.DRAWS)) == structures.DRAWS


def test_these_are_the_commands():
    names = [c.name or c.callback.__name__ for c in cli.app.registered_commands]
    assert tuple(names) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_something_about_every_option(command):
    result = invoke(command, "--help")
    assert result.exit_code == 0
    text = re.sub(r"\s+", " ", result.stdout)
    for parameter in re.findall(r"--[a-z-]+ (?:<[^>]+>|[A-Z_]+) +([^-]+)", text):
        assert len(parameter.split()) >= 3, parameter


def test_help_does_not_load_torch():
    program = (
        "import sys, wyk.cli\nprint(sorted({'torch', 'pymatgen', 'pyxtal'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["repesent"], "No such command"),
        (["represent"], "INPUT"),
        (["represent", "aflow"], "--out"),
        (["represent", "aflow", "-o", "x", "--jobs", "0"], "--jobs"),
        (["train"], "--experiment"),
        ([*SAMPLE, "--elements", "Li,Xx"], "'Xx' is no chemical element"),
        ([*SAMPLE, "--elements", ""], "'' is no chemical element"),
        ([*SAMPLE, "--require", "D"], "'D' is no chemical element"),
        ([*SAMPLE, "--elements", "Li,O", "--require", "Fe"], "Fe"),
        ([*SAMPLE, "--elements", "CO"], "'CO' is Co or C-O; write which"),
        ([*SAMPLE, "--chemical-system", "LiFeO"], "'LiFeO': write Li-Fe-O"),
        ([*SAMPLE, "--space-group", "225,231"], "'231' is no space group"),
        ([*SAMPLE, "--space-group", "230-225"], "'230-225' is no space group"),
        ([*SAMPLE, "--space-group", "Fm-3x"], "'Fm-3x' is no space group"),
        ([*SAMPLE, "--space-group", ""], "'' is no space group"),
        ([*SAMPLE, "--crystal-system", "cubical"], "'cubical' is no crystal system"),
        (
            [*SAMPLE, "--crystal-system", "cubic", "--space-group", "62"],
            "has none of the groups of --space-group",
        ),
        ([*SAMPLE, "--formula", "LiFePo4x"], "is no formula"),
        ([*SAMPLE, "--formula", "ABO3"], "and require O"),
        ([*SAMPLE, "--elements-count", "3-2"], "'3-2': write a number or a range"),
        ([*SAMPLE, "--atoms", "few"], "'few': write a number or a range"),
        ([*SAMPLE, "--temperature", "0"], "--temperature"),
        ([*SAMPLE, "--temperature", "nan"], "--temperature"),
        ([*SAMPLE, "-n", "0"], "-n"),
        ([*SAMPLE, "--sites", "0"], "--sites"),
        ([*SAMPLE, "--chemical-system", "Li-O", "--elements", "Li,O"], "leave out --elements"),
        ([*SAMPLE, "--chemical-system", "Li-O", "--require", "Li"], "and --require"),
        ([*SAMPLE, "--complete", "x.cif", "--space-group", "225"], "leave out --space-group"),
        ([*SAMPLE, "--unconstrained", "--atoms", "1-3"], "no other conditions than space groups"),
        ([*SAMPLE, "--unconstrained", "--complete", "x"], "no other conditions"),
        (["evaluate", "aflow:test", "-o", "x"], "--reference"),
        ([*EVALUATE, "--relax", "--crystals", "x"], "leave out --crystals"),
        ([*STRUCTURES, "--draws", "2,4"], "'2,4': write one number, or four"),
        ([*STRUCTURES, "--draws", "0"], "'0': write one number"),
        ([*STRUCTURES, "--draws", "1,2,x,3"], "write one number, or four"),
        ([*STRUCTURES, "--time-limit", "0"], "--time-limit"),
        ([*LIKELIHOOD, "--temperature", "-1"], "--temperature"),
        ([*LIKELIHOOD, "--permutations", "0"], "--permutations"),
        ([*SWEEP, "--temperatures", "1,0"], "--temperatures"),
        ([*SWEEP, "--temperatures", "1;2"], "'1;2': write numbers"),
        ([*SWEEP, "--temperatures", ""], "'': write numbers"),
        (SWEEP, "--temperatures"),
    ],
)
def test_usage_errors(arguments, complaint):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert complaint in re.sub(r"\s+", " ", result.output)


def test_lists():
    assert options.elements("Li, O,Fe") == ["Li", "O", "Fe"]
    assert options.elements("Li-O-Fe") == ["Li", "O", "Fe"]
    assert options.groups("225, 227") == [225, 227]
    assert (options.draws("3"), options.draws("2,4, 6,8")) == ([3], [2, 4, 6, 8])
    assert options.elements(None) is options.groups(None) is options.systems(None) is None


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["represent", "nowhere.csv", "-o", "out.parquet"], "nowhere.csv"),
        (["train", "--experiment", "qick"], "no experiment 'qick'; there are quick"),
        (SAMPLE, "nowhere"),
        ([*SAMPLE, "--complete", "nowhere.cif"], "nowhere.cif"),
        (STRUCTURES, "nowhere.parquet"),
        ([*STRUCTURES, "--hull", "no_table.csv"], "no_table.csv"),
        ([*EVALUATE, "--hull", "no_table.csv"], "no_table.csv"),
        (["reference", "mp:Li-Xx", "-o", "out.csv.gz"], "'Xx' is no chemical element"),
        (["reference", "nowhere.cif", "-o", "out.csv.gz"], "nowhere.cif"),
        (EVALUATE, "nowhere.cif"),
        (LIKELIHOOD, "nowhere"),
        ([*SWEEP, "--temperatures", "1"], "nowhere.cif"),
    ],
)
def test_errors_are_one_sentence(monkeypatch, capsys, tmp_path, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    assert main(monkeypatch, *arguments) == 1
    message = capsys.readouterr().err
    assert message.startswith("wyk: ")
    assert complaint in message
    assert "Traceback" not in message
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_an_error_that_quotes_a_book_is_a_sentence(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    row = f"s,1,{'x' * 10**5},2,-3"
    Path("hull.csv").write_text(f"source,material_id,formula,n_atoms,energy_per_atom\n{row}\n")
    assert main(monkeypatch, "reference", "hull.csv", "-o", "out.csv") == 1
    message = capsys.readouterr().err
    assert message.startswith("wyk: hull.csv: row 2 (1): 'xxx")
    assert message.endswith("xxx' is not a formula\n")
    assert len(message) < 1100


def test_a_bug_is_no_sentence(monkeypatch):
    """Only bad data and bad files are sentences; a mistake of ours keeps its traceback."""

    def broken(*arguments):
        raise TypeError("ours")

    monkeypatch.setattr(datasets, "represent", broken)
    monkeypatch.setattr(sys, "argv", ["wyk", "represent", "aflow", "-o", "x"])
    with pytest.raises(TypeError, match="ours"):
        cli.main()


def test_represent(monkeypatch, capsys, tmp_path):
    out = tmp_path / "aflow.parquet"
    assert main(monkeypatch, "represent", "aflow:test", "-o", str(out), "--jobs", "1") == 0
    assert capsys.readouterr().out == f"{out}: 58 representations, 0 rejected\n"
    assert len(datasets.load(out)) == 58


def test_sample_under_conditions(monkeypatch, capsys, folder, tmp_path):
    out = tmp_path / "samples.parquet"
    arguments = [
        "sample",
        "--model",
        str(folder),
        "-n",
        "20",
        "-o",
        str(out),
        "--space-group",
        "225",
    ]
    arguments += ["--chemical-system", "na-cl", "--sites", "1-3", "--atoms", "1-12"]
    assert main(monkeypatch, *arguments) == 0
    assert capsys.readouterr().out == f"{out}: 20 representations\n"
    for r in from_table(datasets.load(out)):
        assert (r.space_group, set(r.elements)) == (225, {"Na", "Cl"})
        assert len(r.letters) <= 3
        assert r.n_atoms <= 48


@pytest.mark.parametrize(
    ("reader", "text", "value"),
    [
        (options.groups, "225, Fd-3m; 194-195", [225, 227, 194, 195]),
        (options.groups, "P 21/c", [14]),
        (options.groups, "P2_1/c, P 2(1)/c; F m 3- m", [14, 14, 225]),
        (options.systems, "Cubic", [*range(195, 231)]),
        (options.systems, "triclinic,hexagonal", [1, 2, *range(168, 195)]),
        (options.elements, "li-FE o", ["Li", "Fe", "O"]),
        (options.elements, "Pb,Tl", ["Pb", "Tl"]),
        (options.number_range, "3", (3, 3)),
        (options.number_range, " 5-20", (5, 20)),
        (options.number_range, "5-", (5, options.MOST_OF_ANYTHING)),
        (options.formula, "Ca(OH)2", "Ca(OH)2"),
    ],
)
def test_words_of_the_field(reader, text, value):
    """Either separator, any case, ranges and symbols."""
    assert reader(text) == value


def test_crystal_systems_are_all_groups_once():
    groups = [n for first, last in options.SYSTEMS.values() for n in range(first, last + 1)]
    assert groups == [*range(1, 231)]


def test_sample_unconstrained(monkeypatch, capsys, folder, tmp_path):
    out = tmp_path / "samples.parquet"
    arguments = ["sample", "--model", str(folder), "-n", "40", "-o", str(out)]
    assert main(monkeypatch, *arguments, "--unconstrained") == 0
    rejected = pd.read_csv(tmp_path / "samples.rejected.csv")
    n = 40 - len(rejected)
    said = f"{out}: {n} of 40 samples ({n / 40:.1%}) are formally valid\n"
    assert capsys.readouterr().out == said
    assert len(datasets.load(out)) == n


def test_sample_completes_what_it_is_given(monkeypatch, capsys, folder, tmp_path):
    """The file is named with the row and the reason, and nothing is written."""
    parts, out = tmp_path / "parts.parquet", tmp_path / "samples.parquet"
    known = [WyckoffRepresentation(225, ("Na",), ("a",)), WyckoffRepresentation(62, ("O",), ("c",))]
    write_representations(parts, to_table(known, ["salt", "oxide"]))
    arguments = ["sample", "--model", str(folder), "-n", "5", "-o", str(out)]
    arguments += ["--complete", str(parts)]
    assert main(monkeypatch, *arguments, "--atoms", "1-3") == 1
    needed = "at least 4 atoms in the primitive cell are needed, at most 3 allowed"
    assert capsys.readouterr().err.splitlines()[-1] == f"wyk: {parts}: row 2 (oxide): {needed}"
    assert not out.exists()
    assert main(monkeypatch, *arguments) == 0
    rows = from_table(datasets.load(out))
    assert [r.space_group for r in rows] == [225, 62, 225, 62, 225]
    assert [(r.elements[0], r.letters[0]) for r in rows[:2]] == [("Na", "a"), ("O", "c")]


def test_ctrl_c_leaves_nothing(tmp_path):
    table = tmp_path / "many.csv"
    cif = datasets.structures("aflow:test")[0][0][1].to(fmt="cif").replace('"', "'")
    table.write_text("cif\n" + f'"{cif}"\n' * 20000)
    command = [sys.executable, "-m", "wyk.cli.main", "represent", str(table), "--jobs", "1"]
    command += ["-o", str(tmp_path / "out.parquet")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.iterdir())) == 1 and time.monotonic() < deadline:
            time.sleep(0.05)  # until it has begun to write
        assert len(list(tmp_path.iterdir())) == 2
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert "Traceback" not in process.stderr.read()
    assert list(tmp_path.iterdir()) == [table]
