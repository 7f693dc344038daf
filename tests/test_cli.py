"""The ``wyk`` command as a person meets it: help, usage, errors, exit codes."""

import re
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from wyk import cli, datasets

COMMANDS = ("represent", "train", "sample", "likelihood", "structures", "reference", "evaluate")
SAMPLE = ["sample", "--model", "nowhere", "-n", "3", "-o", "out.parquet"]


def invoke(*arguments: str):
    return CliRunner().invoke(cli.app, arguments)


def main(monkeypatch, *arguments: str) -> int:
    """Exit code of the console command."""
    monkeypatch.setattr(sys, "argv", ["wyk", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code or 0


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
        ([*SAMPLE, "--space-group", "225,231"], "'231' is no space-group number"),
        ([*SAMPLE, "--space-group", "225;227"], "'225;227' is no space-group number"),
        ([*SAMPLE, "--space-group", "-1"], "'-1' is no space-group number"),
        ([*SAMPLE, "--temperature", "0"], "--temperature"),
        ([*SAMPLE, "--temperature", "nan"], "--temperature"),
        ([*SAMPLE, "-n", "0"], "-n"),
        (["evaluate", "aflow:test", "-o", "x"], "--reference"),
    ],
)
def test_usage_errors(arguments, complaint):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert complaint in re.sub(r"\s+", " ", result.output)


def test_lists():
    assert cli._elements("Li, O,Fe") == ["Li", "O", "Fe"]
    assert cli._groups("225, 227") == [225, 227]
    assert cli._elements(None) is cli._groups(None) is None


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["represent", "nowhere.csv", "-o", "out.parquet"], "nowhere.csv"),
        (["train", "--experiment", "qick"], "no experiment 'qick'; there are quick"),
        (SAMPLE, "nowhere"),
        (["structures", "nowhere.parquet", "-o", "out"], "nowhere.parquet"),
        (["reference", "nowhere.cif", "-o", "out.csv.gz"], "nowhere.cif"),
        (["evaluate", "nowhere.cif", "--reference", "aflow:test", "-o", "out"], "nowhere.cif"),
        (["likelihood", "nowhere.cif", "--model", "nowhere", "-o", "out.parquet"], "nowhere"),
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


def test_ctrl_c_leaves_nothing(tmp_path):
    table = tmp_path / "many.csv"
    cif = datasets.structures("aflow:test")[0][0][1].to(fmt="cif").replace('"', "'")
    table.write_text("cif\n" + f'"{cif}"\n' * 20000)
    command = [sys.executable, "-m", "wyk.cli", "represent", str(table), "--jobs", "1"]
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
