"""Hostile files: one maker for each reader. Each writes a file named `in…` to the working directory."""

import csv
import gzip
import hashlib
import io
import json
import os
import pickle
import re
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import ase.io
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from safetensors.torch import load_file, save_file

CANARY = "canary"  # a file that hostile content tries to make
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
NUMBERS = [b"0", b"-1", b"nan", b"inf", b"1e308", b"-1e308", b"1e999", b"9" * 400, b"?", b"1e-320"]
TOKENS = [
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"'", b'"', b"\n", b"\r", b";", b",", b"[", b"]", b"{", b"}", b"null",
    b"_chemical_formula_sum 'Na Cl2'\n", b"_cell.formula_units_Z 3\n", b"_space_group_symop.operation_xyz -x,y,z\n",
    b'Lattice="1 0 0 0 1 0 0 0 1" ', b"pbc=F ", b"2 -3\n", b"Direct\n", b'"cif": ', b"{'a': ",
    b"loop_\n", b"data_b\n", b"_symmetry_space_group_name_H-M 'F d -3 m'\n", b"x,y,z\n", b"'-y+1/4, x+1e9, z'\n",
    b"&a [*a]", b"!!python/object/apply:os.system ['touch canary']\n", b'{"@module": "os", "@class": "system"}',
    "é\u2028\U0001f600".encode(), "Fe".encode("utf-16"), b"[" * 3000, b"(" * 300, b"Xx", b"D",
]  # fmt: skip
INFINITE, NAN = float("inf"), float("nan")
JUNK = [None, True, 0, -1, 231, 2**70, 1e300, NAN, INFINITE, "", "x", "é", "\0", [], [None], {}]
CELLS = {  # of a representation
    "space_group": [0, -1, 231, 2**40],
    "elements": [None, [], ["Xx"], [None], ["D"], ["H"] * 500, ["Fe", "Fe"]],
    "wyckoff_letters": [None, [], ["z"], ["zz"], [""], [None], ["é"], ["a"] * 500, ["A"]],
    "multiplicities": [None, [], [-1], [2**40]],
    "material_id": [None, "", "x" * 300, "..", "\0/\n"],
}
FORMULAS = ["", "()", "1", "H0", "Fe-1", "H1e308", "Xx", "(" * 99, "NaN", "1e999", "x" * 10**5]
# of the central directory of a zip: encrypted, another checksum, method, size, version, name
ENTRIES = [(8, b"\1"), (16, b"abcd"), (10, b"\x63"), (24, b"\xff" * 4), (6, b"\xff"), (46, b"\xff")]


@dataclass(frozen=True)
class Attack:
    """A command on a hostile file.

    Attributes:
        arguments: of the command.
        named: what an error must name.
        rows: number of crystals in the file, each to be represented or rejected; None if that cannot be said.
        good: material_ids of those that must come out as they do alone.
        repository: see `campaign.Running`.
    """

    arguments: list
    named: str
    rows: int | None = None
    good: tuple[str, ...] = ()
    repository: Path | None = None


class Executed:
    """What runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, (f"touch {CANARY}",)


def mutated(random: Random, content: bytes) -> bytes:
    """A file with a few things wrong with it: bytes, numbers, words, length."""
    for _ in range(random.randint(1, 4)):
        start = random.randrange(len(content) + 1)
        end = min(len(content), start + random.randrange(60))
        part, kind = content[start:end], random.randrange(7)
        if kind == 0 and part:
            part = bytes([part[0] ^ 1 << random.randrange(8)]) + part[1:]
        elif kind == 1:
            part = b""
        elif kind == 2:
            part = part * random.choice([2, 3, 500])
        elif kind == 3:
            part = random.choice(TOKENS)
        elif kind == 4:
            part, end = random.choice(TOKENS), start
        elif kind == 5 and random.randrange(4) == 0:
            return content[:start]
        elif number := NUMBER.search(content, start):
            start, end = number.span()
            part = random.choice(NUMBERS)
        content = content[:start] + part + content[end:]
    return content


def replaced(random: Random, value: object) -> object:
    """JSON with one value in it, at any depth, gone or something else."""
    if not isinstance(value, dict | list) or not value or random.randrange(4) == 0:
        return random.choice(JUNK)
    place = random.choice(list(value) if isinstance(value, dict) else range(len(value)))
    copy = value.copy()
    if random.randrange(6) == 0:
        del copy[place]
    else:
        copy[place] = replaced(random, value[place])
    return copy


def between_good(random: Random, stock: Path, column: str = "cif") -> list[tuple[str, bytes]]:
    """Names and texts of eight crystals: two good ones, and mutated ones between them."""
    table = pd.read_csv(stock / ("crystals.csv" if column == "cif" else "json.csv")).iloc[:-1]
    names, texts = table["material_id"].tolist(), [text.encode() for text in table[column]]
    middle = [mutated(random, random.choice(texts)) for _ in range(6)]
    if column == "structure" and random.randrange(2):
        middle = [
            json.dumps(replaced(random, json.loads(random.choice(texts)))).encode()
            for _ in range(6)
        ]
    bad = [(f"m{i}", text) for i, text in enumerate(middle)]
    return [(names[0], texts[0]), *bad, (names[1], texts[1])]


def represent(name: str, rows: list | None) -> Attack:
    good = (rows[0][0], rows[-1][0]) if rows else ()
    arguments = ["represent", name, "-o", "out.parquet", "--jobs", "1"]
    return Attack(arguments, name, rows and len(rows), good)


def cifs(random: Random, stock: Path) -> Attack:
    """A folder of CIFs, some with names that are no text, beside links to nowhere good."""
    rows = between_good(random, stock)
    odd = random.choice([[], [], [(os.fsdecode(b"\xff\xfe"), b"data_x")], [("a\nb", b"data_x")]])
    rows[1:1] = odd
    os.mkdir("in")
    for name, text in rows:
        Path("in", f"{name}.cif").write_bytes(text)
    if random.randrange(8) == 0:
        os.symlink("/dev/zero", "in/link.cif")
        os.symlink(".", "in/loop")
    return represent("in", rows)


def csvs(random: Random, stock: Path) -> Attack:
    """A CSV or CSV.gz with hostile fields and columns, or of hostile bytes."""
    column = random.choice(["cif", "structure"])
    header = ["material_id", column, "spacegroup.number", "e_above_hull"]
    header += random.choice([[], [""], ["x", "x"]])
    rows, buffer = between_good(random, stock, column), io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(header)
    for name, text in rows:
        good = not name.startswith("m")
        name = name if good else random.choice([name, "", "\0", "x" * 300])
        extras = [str(random.choice(JUNK)) for _ in header[2:]]
        fields = [name, text.decode("utf-8", "replace"), *extras]
        writer.writerow(fields if good else fields[: random.choice([1, 2, 99, 99, 99])])
    content, name = (
        buffer.getvalue().encode("utf-8", "replace"),
        random.choice(["in.csv", "in.csv.gz"]),
    )
    for step in (lambda c: c, gzip.compress if random.randrange(2) else lambda c: c):
        content = step(content)
        if random.randrange(4) == 0:
            content, rows = mutated(random, content), None
    Path(name).write_bytes(content)
    return represent(name, rows)


def zips(random: Random, stock: Path) -> Attack:
    """A zip with hostile members, or of hostile bytes."""
    bad, rows, hidden = random.sample(range(1, 7), 3), between_good(random, stock), 0
    with zipfile.ZipFile("in.zip", "w") as archive:
        for i, (name, text) in enumerate(rows):
            if i in bad:
                name = (
                    random.choice(["/", "../", "../../x/", "C:\\", "a/" * 500, "\n", "é", "."])
                    + name
                )
                hidden += name.startswith(".m")  # left out
                text = random.choice([text, b"PK\5\6" + bytes(18), b" " * 10**7])
            member = zipfile.ZipInfo(f"{name}.cif")
            member.external_attr = random.choice([0, 0o120777 << 16])  # a symlink
            member.compress_type = random.choice(
                [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]
            )
            archive.writestr(member, text)
    content, at, whole = bytearray(Path("in.zip").read_bytes()), 0, rows
    for i in range(len(rows)):
        at = content.find(b"PK\1\2", at + 1)
        if i in bad:
            offset, value = random.choice(ENTRIES)
            content[at + offset : at + offset + len(value)] = value
            whole = whole if offset not in (6, 46) else None  # then the directory itself is none
    if random.randrange(3) == 0:
        content, whole = mutated(random, bytes(content)), None
    Path("in.zip").write_bytes(content)
    attack = represent("in.zip", whole)
    return replace(attack, rows=whole and len(rows) - hidden)


def tars(random: Random, stock: Path) -> Attack:
    """A tar or tar.gz with hostile members, or of hostile bytes."""
    rows, buffer = between_good(random, stock), io.BytesIO()
    odd = ["/", "../", "a/" * 200, "\n", "é", "."]
    with tarfile.open(fileobj=buffer, mode="w", format=random.choice([1, 2])) as archive:
        for name, text in rows:
            bad = name.startswith("m")
            info = tarfile.TarInfo((random.choice(odd) if bad else "") + f"{name}.cif")
            info.size = len(text)
            info.mtime = random.choice([0, 2**32])
            archive.addfile(info, io.BytesIO(text))
            if bad and random.randrange(3) == 0:
                link = tarfile.TarInfo("link.cif")
                link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(link)
    content, name, whole = buffer.getvalue(), random.choice(["in.tar", "in.tar.gz", "in.tgz"]), rows
    for step in (lambda c: c, gzip.compress if random.randrange(2) else lambda c: c):
        content = step(content)
        if random.randrange(4) == 0:
            content, whole = mutated(random, content), None
    Path(name).write_bytes(content)
    attack = represent(name, whole)
    # links, and names that begin with a dot, are left out
    return Attack(attack.arguments, attack.named, None, attack.good)


def jsons(random: Random, stock: Path) -> Attack:
    """JSON and JSON lines of crystals in several dialects, with hostile values, or of hostile bytes."""
    rows, items = between_good(random, stock, "structure"), []
    for name, text in rows:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = random.choice(JUNK)
        if not name.startswith("m"):
            items.append({"material_id": name, "structure": value})
        elif random.randrange(2):
            dialects = [
                value,
                {"structure": value},
                {"cif": value},
                {"id": name, "attributes": value},
            ]
            items.append(replaced(random, random.choice(dialects)))
        else:
            items.append(replaced(random, OPTIMADE))
    kind, whole = random.choice(["lines", "list", "data", "indented"]), rows
    if kind == "lines":
        content = "\n".join(map(json.dumps, items))
    else:
        content = json.dumps(
            {"data": items} if kind == "data" else items, indent=kind == "indented" or None
        )
    name = f"in.{'jsonl' if kind == 'lines' else 'json'}{random.choice(['', '.gz'])}"
    content = content.encode()
    for step in (lambda c: c, gzip.compress if random.randrange(2) else lambda c: c):
        content = step(content)
        if random.randrange(3) == 0:
            content, whole = mutated(random, content), None
    Path(name).write_bytes(content)
    return represent(name, whole)


def formats(random: Random, stock: Path) -> Attack:
    """A folder of files in every format, good ones and mutated ones, beside what is no crystal."""
    table = pd.read_csv(stock / "json.csv").iloc[:-1]
    crystals = [
        (n, Structure.from_str(t, fmt="json")) for n, t in zip(*table.values.T, strict=True)
    ]
    names = [name for name, _ in crystals[:2]]
    os.mkdir("in")
    for i in range(8):
        name, crystal = crystals[i] if i < 2 else random.choice(crystals)
        # the same cell as in the table, so that the good ones are as they are alone
        text, suffix = (crystal.to_json().encode(), ".json") if i < 2 else written(random, crystal)
        text = text if i < 2 else mutated(random, text)
        if random.randrange(3) == 0:
            text, suffix = gzip.compress(text), f"{suffix}.gz"
            text = text if i < 2 or random.randrange(2) else mutated(random, text)
        Path("in", f"{name if i < 2 else f'm{i}'}{suffix}").write_bytes(text)
    for junk in random.sample(["README.md", ".DS_Store", "._a.cif", "metrics.csv", "x.png"], 3):
        Path("in", junk).write_bytes(random.choice(TOKENS) * 3)
    attack = represent("in", None)
    return Attack(attack.arguments, attack.named, None, tuple(names))


def written(random: Random, crystal: Structure) -> tuple[bytes, str]:
    """A crystal in some format, and the suffix of its file."""
    file = io.StringIO()
    ase.io.write(file, AseAtomsAdaptor.get_atoms(crystal), format="extxyz")
    texts = {
        ".vasp": crystal.to(fmt="poscar"), ".json": crystal.to_json(),
        ".cif": crystal.to(fmt="cif"), ".mcif": crystal.to(fmt="cif", symprec=0.01), ".xyz": file.getvalue(),
    }  # fmt: skip
    suffix = random.choice(list(texts))
    return texts[suffix].encode(), suffix


OPTIMADE = {
    "lattice_vectors": [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]],
    "cartesian_site_positions": [[0.0, 0.0, 0.0], [2.0, 2.0, 2.0]],
    "species_at_sites": ["Cs", "Cl"],
    "species": [
        {"name": name, "chemical_symbols": [name], "concentration": [1.0]} for name in ("Cs", "Cl")
    ],
    "dimension_types": [1, 1, 1],
}


def crystal_tables(random: Random, stock: Path) -> Attack:
    """A Parquet of crystals with columns of any type, or of hostile bytes."""
    rows = between_good(random, stock)
    names = pa.array([name for name, _ in rows])
    texts = pa.array([text.decode("utf-8", "replace") for _, text in rows])
    other = [names.cast(pa.binary()), names.dictionary_encode(), pa.nulls(8), pa.array([[1]] * 8)]
    columns = {
        "material_id": random.choice([names] * 4 + other),
        "cif": random.choice(
            [texts] * 4 + [texts.cast(pa.large_string()), texts.cast(pa.binary()), *other]
        ),
    }
    for name in ("reason", "e_above_hull", "spacegroup.number"):
        value = random.choice(["x", 1e300, [1], None, 2**62, {"a": 1}])
        columns |= {name: pa.array([value] * 8)} if random.randrange(2) else {}
    pq.write_table(pa.table(columns), "in.parquet")
    whole = columns["cif"] is texts and columns["material_id"] is names
    if random.randrange(3) == 0:
        Path("in.parquet").write_bytes(mutated(random, Path("in.parquet").read_bytes()))
        whole = False
    return represent("in.parquet", rows if whole else None)


def representation_tables(random: Random, stock: Path) -> Attack:
    """A Parquet of representations with a hostile row or column, or of hostile bytes, for any command."""
    table, whole, kind = pd.read_parquet(stock / "six.parquet"), False, random.randrange(4)
    good = tuple(table["material_id"][:2])
    column = random.choice(list(CELLS if kind < 2 else table))
    if kind < 2:
        values = list(table[column])
        values[random.randrange(2, 6)], whole = random.choice(CELLS[column]), True
        table[column] = values
    elif kind == 2:
        table[column] = random.choice([1, 1.5, "x", None, b"x", NAN, pd.Timestamp(0)])
    else:
        table = table.drop(columns=column)
    table.to_parquet("in.parquet")
    if random.randrange(4) == 0:
        Path("in.parquet").write_bytes(mutated(random, Path("in.parquet").read_bytes()))
        whole = False
    test, model = f"--reference {stock}/test.parquet", f"--model {stock}/model"
    commands = [
        "represent in.parquet -o out.parquet",
        f"evaluate in.parquet {test} -o out.json",
        f"evaluate {stock}/six.parquet --reference in.parquet -o out.json",
        f"evaluate {stock}/six.parquet {test} --training in.parquet -o out.json",
        f"likelihood {model} in.parquet -o out.parquet --permutations 2",
        f"sample {model} --complete in.parquet -n 3 -o out.parquet",
        "baseline random --known in.parquet -n 5 -o out.parquet",
        "baseline substitution --known in.parquet -n 5 -o out.parquet",
    ]
    command = random.choice(commands)
    if random.randrange(20) == 0:
        command = "structures in.parquet -n 6 --draws 1 --time-limit 30 -o out"
    if command is not commands[0] or not whole:
        return Attack(command.split(), "in.parquet")
    return Attack(command.split(), "in.parquet", len(table), good)


def models(random: Random, stock: Path) -> Attack:
    """A model folder with a hostile config, fitting hash included, hostile weights, or pickle in their place."""
    shutil.copytree(stock / "model", "in")
    weights, config, kind = (
        Path("in/model.safetensors"),
        Path("in/config.json"),
        random.randrange(6),
    )
    content = weights.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    if kind == 0:
        weights.write_bytes(pickle.dumps(Executed()))
    elif kind == 1:
        weights.write_bytes(mutated(random, content))
    elif kind == 2:
        header = mutated(random, content[8 : 8 + length])
        size = random.choice([len(header), len(header), 2**63, 10**8])
        weights.write_bytes(struct.pack("<Q", size) + header + content[8 + length :])
    else:
        text = json.dumps(replaced(random, json.loads(config.read_text()))).encode()
        config.write_bytes(mutated(random, config.read_bytes()) if kind == 3 else text)
        tensors = load_file(weights)
        if random.randrange(4) == 0:
            name = random.choice(sorted(tensors))
            tensors[name] = random.choice(
                [tensors[name] * NAN, tensors[name][:1], tensors[name].double()]
            )
        text = config.read_text(errors="replace")
        save_file(tensors, weights, {"config_sha256": hashlib.sha256(text.encode()).hexdigest()})
    verb = random.choice(["sample -n 3", f"likelihood {stock}/six.parquet --permutations 2"])
    return Attack(f"{verb} --model in -o out.parquet".split(), "in")


def hulls(random: Random, stock: Path) -> Attack:
    """A table of reference energies, CSV or CSV.gz."""
    rows = [
        f"s,{i},{f},2,-{i}.5,CHGNet 0.3.0" for i, f in enumerate(["NaCl", "Fe2O3", "NaN", "Mg"])
    ]
    if random.randrange(2):
        fields = random.choice(rows).split(",")
        fields[random.randrange(6)] = random.choice(FORMULAS)
        rows.append(",".join(fields))
    header = "source,material_id,formula,n_atoms,energy_per_atom,potential"
    content, name = "\n".join([header, *rows, ""]).encode(), random.choice(["in.csv", "in.csv.gz"])
    content = mutated(random, content) if random.randrange(2) else content
    if name == "in.csv.gz":
        content = gzip.compress(content)
        content = mutated(random, content) if random.randrange(2) else content
    Path(name).write_bytes(content)
    six = stock / "six.parquet"
    commands = [
        ["reference", name, "-o", "out.csv"],
        ["evaluate", six, "--reference", six, "--hull", name, "-o", "out.json"],
    ]
    return Attack(random.choice(commands), name)


def params(random: Random, stock: Path) -> Attack:
    """A params.yaml."""
    shutil.copytree(stock / "repository", "in")
    file = Path("in/params.yaml")
    content = file.read_bytes()
    if random.randrange(2):
        content = yaml.dump(replaced(random, yaml.safe_load(content))).encode()
    file.write_bytes(mutated(random, content) if random.randrange(3) else content)
    return Attack(["train", "--experiment", "none"], "params.yaml", repository=Path("in").resolve())


def journals(random: Random, stock: Path) -> Attack:
    """What an unfinished run of `wyk structures` left; what is damaged in it is done again."""
    shutil.copytree(stock / "unfinished", "out")
    journal = Path("out/done.jsonl")
    journal.write_bytes(mutated(random, journal.read_bytes()))
    arguments = ["structures", stock / "six.parquet", "-o", "out", "--draws", "1", "--jobs", "1"]
    return Attack(arguments, "done.jsonl")


READERS: dict[str, Callable[[Random, Path], Attack]] = {
    "CIF": cifs,
    "CSV": csvs,
    "zip": zips,
    "tar": tars,
    "JSON": jsons,
    "folder of all formats": formats,
    "Parquet of crystals": crystal_tables,
    "Parquet of representations": representation_tables,
    "model": models,
    "hull": hulls,
    "params.yaml": params,
    "done.jsonl": journals,
}
