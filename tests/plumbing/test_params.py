"""params.yaml is checked when it is read; paths and the writing of files."""

import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wyk.plumbing import params, paths

LEAVES = [
    (experiment, section, key)
    for experiment, settings in params.load().model_dump()["experiments"].items()
    for section, keys in settings.items()
    for key in keys
]


def rewritten(tmp_path, old: str, new: str):
    text = paths.PARAMS.read_text()
    assert old in text
    path = tmp_path / "params.yaml"
    path.write_text(text.replace(old, new, 1))
    return path


def test_quick_learns_from_what_is_embedded():
    assert params.experiment("quick").data.train == "aflow:train"


def test_quick_is_the_size_it_promises():
    quick = params.experiment("quick")
    assert (quick.sample.n, quick.structures.n) == (500, 24)


def test_unknown_experiment_names_the_known_ones():
    with pytest.raises(ValueError, match=r"no experiment 'qick'; there are quick, biternary_7k"):
        params.experiment("qick")


def test_unknown_key_names_file_and_key(tmp_path):
    path = rewritten(tmp_path, "temperature:", "temperatur:")
    with pytest.raises(ValueError, match=r"params\.yaml.*quick\.sample\.temperatur: unknown key"):
        params.load(path)


def test_missing_key_is_named(tmp_path):
    path = rewritten(tmp_path, "lr: ", "learning_rate: ")
    with pytest.raises(ValueError, match=r"quick\.train\.lr: missing"):
        params.load(path)


@pytest.mark.parametrize("value", ['"500"', "0", "-3", "1.5", "true", "null", "[500]"])
def test_a_value_of_the_wrong_kind_is_named(tmp_path, value):
    path = rewritten(tmp_path, "sample: {n: 500", f"sample: {{n: {value}")
    with pytest.raises(ValueError, match=r"quick\.sample\.n: .*got"):
        params.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.d": 62}, "d 62 is not divisible by heads 4"),
        ({"model.attention": "causal", "model.query_layers": 0}, "causal needs query_layers"),
        ({"train.schedule": "plateau"}, "no validation for schedule plateau"),
    ],
)
def test_settings_that_do_not_go_together(changes, message):
    with pytest.raises(ValueError, match=message):
        params.experiment("biternary_7k").changed(changes)


@pytest.mark.parametrize("content", ["", "seed: [", "just text", "\x00"])
def test_a_file_that_is_no_parameters(tmp_path, content):
    path = tmp_path / "params.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"params\.yaml: "):
        params.load(path)


def test_settings_do_not_change_after_reading():
    with pytest.raises(ValueError, match="frozen"):
        params.load().experiments["quick"].sample.n = 3


@settings(deadline=None)
@given(st.sampled_from(LEAVES))
def test_every_leaf_is_needed(leaf):
    """Removing any leaf is an error that names it: no setting has a hidden default."""
    experiment, section, key = leaf
    content = params.load().model_dump()
    del content["experiments"][experiment][section][key]
    with pytest.raises(ValueError, match=rf"{experiment}\.{section}\.{key}"):
        params.Params.model_validate(content)


def test_writing_replaces_only_when_done(tmp_path):
    target = tmp_path / "deep" / "table.csv.gz"
    with paths.writing(target) as temporary:
        temporary.write_text("first")
        assert not target.exists()
        assert temporary.parent == target.parent
        assert temporary.name.endswith(".csv.gz")
    assert target.read_text() == "first"
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error), paths.writing(target) as temporary:
            temporary.write_text("second")
            raise error
    assert target.read_text() == "first"
    assert list(target.parent.iterdir()) == [target]


def test_writing_names_the_target(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="Is a directory: .*folder'") as caught:
        with paths.writing(tmp_path / "folder") as temporary:
            temporary.write_text("x")
    assert str(caught.value.filename) == str(tmp_path / "folder")
    with (
        pytest.raises(OSError, match="No space left on device: .*table"),
        paths.writing(tmp_path / "table"),
    ):
        raise OSError(28, "No space left on device")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file"), paths.writing(tmp_path / "file" / "table"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_stopped_process_leaves_nothing(tmp_path):
    """Ctrl-C in the middle of writing: neither the file nor its temporary stays."""
    program = (
        "import sys, time\nfrom wyk.plumbing import writing\n"
        "with writing(sys.argv[1]) as path:\n"
        "    path.write_text('half')\n    print('ready', flush=True)\n    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "table")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.1)
        process.send_signal(2)
        assert process.wait(10) != 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["seed: 2001-99-99", "seed: !!bool x", "seed: !!timestamp x", "[" * 3000]
)
def test_what_pyyaml_chokes_on_is_named(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"params\.yaml: not YAML"):
        params.load(tmp_path / "params.yaml")


def test_one_run_at_a_time_works_in_a_folder(tmp_path):
    with paths.alone(tmp_path / "a"):
        with pytest.raises(BlockingIOError, match="a: another run is working there"):
            with paths.alone(tmp_path / "a"):
                pass
        with paths.alone(tmp_path / "b"):
            pass
    with paths.alone(tmp_path / "a"):
        pass
