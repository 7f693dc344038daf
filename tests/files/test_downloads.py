"""The third-party files: recognised, copied, downloaded."""

import gzip
import hashlib
import io
import urllib.error

import pytest

from wyk.files import downloads, origins


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture
def small_world(monkeypatch, tmp_path) -> dict[str, bytes]:
    """Two data sets of two files each, one of them without a known id, and an empty `data/`."""
    contents = {
        f"{name}/{split}.csv.gz": gzip.compress(f"cif\n{name} {split}\n".encode(), mtime=0)
        for name in ("one", "two")
        for split in ("val", "test")
    }
    known = {
        name: origins.Origin("owner/repository/commit", _blob(content), len(content))
        for name, content in contents.items()
    }
    known["two/test.csv.gz"] = origins.Origin("owner/repository/commit")
    monkeypatch.setattr(origins, "FILES", known)
    monkeypatch.setattr(downloads, "DATA", tmp_path / "data")
    return contents


def test_a_wrong_file_is_recognised_and_named(small_world, tmp_path):
    path = tmp_path / "val.csv.gz"
    name = "one/val.csv.gz"
    with pytest.raises(FileNotFoundError, match=r"val\.csv\.gz is not there: run `make data`"):
        origins.check(path, name)
    right = small_world[name]
    path.write_bytes(right)
    origins.check(path, name)  # the check does let the right file pass
    for content, message in [
        (small_world["one/test.csv.gz"], "is the file one/test.csv.gz: wrong split; run `make"),
        (small_world["two/val.csv.gz"], "is the file two/val.csv.gz: wrong data set"),
        (right[:-5], f"is truncated: {len(right) - 5} bytes of {len(right)}"),
        (right[:-1] + b"x", "is altered"),
    ]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            origins.check(path, name)


def test_the_real_files_are_recognised(official, tmp_path):
    held = [name for name in origins.FILES if (official / name).is_file()]
    assert len(held) == 4
    for name, other in zip(held, held[1:] + held[:1], strict=True):
        origins.check(official / name, name)
        with pytest.raises(ValueError, match=f"is the file {other}: wrong"):
            origins.check(official / other, name)
        cut = tmp_path / "cut"
        cut.write_bytes((official / name).read_bytes()[:12345])
        with pytest.raises(ValueError, match=r"is truncated: 12,345 bytes of \d,"):
            origins.check(cut, name)


def test_copying_takes_what_is_there_and_refuses_what_is_wrong(small_world, tmp_path, capsys):
    folder = tmp_path / "folder"
    with pytest.raises(FileNotFoundError, match="folder has no data set"):
        downloads.fetch(folder)
    (folder / "one").mkdir(parents=True)
    (folder / "one/val.csv.gz").write_bytes(small_world["one/val.csv.gz"])
    assert downloads.fetch(folder)
    assert (downloads.DATA / "one/val.csv.gz").read_bytes() == small_world["one/val.csv.gz"]
    (folder / "one/test.csv.gz").write_bytes(small_world["one/val.csv.gz"])
    capsys.readouterr()
    assert not downloads.fetch(folder)
    assert capsys.readouterr().out.splitlines() == [
        "one/val.csv.gz: already there",
        f"one/test.csv.gz: FAILED: {folder}/one/test.csv.gz is the file one/val.csv.gz: wrong split",
        "two/val.csv.gz: absent",
        "two/test.csv.gz: absent",
    ]
    assert [p.name for p in downloads.DATA.rglob("*.gz")] == ["val.csv.gz"]


def test_downloading_goes_on_after_a_failure_and_resumes(
    small_world, tmp_path, capsys, monkeypatch
):
    broken = {"one/test.csv.gz", "two/val.csv.gz"}
    asked = []

    def urlopen(url, timeout):
        prefix, _, name = url.partition("/data/")
        assert prefix == "https://raw.githubusercontent.com/owner/repository/commit"
        asked.append(name)
        if name not in broken:
            return io.BytesIO(small_world[name])
        if name.startswith("two"):
            return io.BytesIO(small_world[name][:-3])  # the connection ends early
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(downloads.urllib.request, "urlopen", urlopen)
    downloads.DATA.mkdir()
    (downloads.DATA / "one").mkdir()
    (downloads.DATA / "one/val.csv.gz").write_bytes(b"not this")
    assert not downloads.fetch()
    out = capsys.readouterr().out
    assert "one/val.csv.gz is altered or truncated" in out or "is truncated: 8 bytes of" in out
    assert "one/val.csv.gz: downloaded\n" in out
    assert "one/test.csv.gz: FAILED: <urlopen error no network>" in out
    assert "two/val.csv.gz: FAILED: https://" in out
    assert "two/test.csv.gz: downloaded, not verified: no checksum of it is known" in out
    files = {p.relative_to(downloads.DATA).as_posix() for p in downloads.DATA.rglob("*.*")}
    assert files == {"one/val.csv.gz", "two/test.csv.gz"}
    asked.clear()
    broken.clear()
    assert downloads.fetch()
    assert asked == ["one/test.csv.gz", "two/val.csv.gz"]


def test_an_unverified_download_must_at_least_be_a_table(small_world, monkeypatch, capsys):
    page = gzip.compress(b"<html>404</html>")
    monkeypatch.setattr(
        origins, "FILES", {"two/test.csv.gz": origins.Origin("owner/repository/commit")}
    )
    monkeypatch.setattr(downloads.urllib.request, "urlopen", lambda url, timeout: io.BytesIO(page))
    assert not downloads.fetch()
    assert "has no column `cif` or `structure`" in capsys.readouterr().out
    assert not list(downloads.DATA.rglob("*.gz"))
