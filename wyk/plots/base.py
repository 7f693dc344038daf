"""Every figure's drawing function: data in, a matplotlib figure out, and the one way a figure is saved."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors
from ase.visualize.plot import plot_atoms
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter
from pymatgen.core import Composition, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from wyk.crystals import SYMPREC, WyckoffRepresentation, from_structure, space_group
from wyk.metrics import TEST
from wyk.plumbing import figures, writing

WIDTH = 3.4  # inches, a column of a journal page
DARK, MIDDLE, LIGHT = "#1b3a5c", "#d1742b", "#c9ced6"  # apart in hue, and in grey print
USUAL = 0.99  # of the test set: values of properties beyond these are not drawn
MANY = 48  # variants; triclinic crystals have up to 1,344
STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
}

# Last space-group number and name of each crystal system.
SYSTEMS = (
    (2, "triclinic"),
    (15, "monoclinic"),
    (74, "orthorhombic"),
    (142, "tetragonal"),
    (167, "trigonal"),
    (194, "hexagonal"),
    (230, "cubic"),
)


def save(figure: Figure, experiment: str, name: str, notebook: str) -> None:
    """Writes ``figures/<experiment>/<name>.png`` and ``.svg``, which carry the name of their notebook."""
    write(figure, figures(experiment) / name, notebook)


def write(figure: Figure, path: Path, source: str) -> None:
    """Writes ``<path>.png`` and ``<path>.svg``, which carry the name of what drew them.

    The same figure gives the same bytes: no date and no library version goes in, and no random name.
    """
    details = {
        "png": {"Software": None, "Source": source},
        "svg": {"Creator": None, "Date": None, "Source": source},
    }
    for kind, metadata in details.items():
        with (
            writing(path.with_name(f"{path.name}.{kind}")) as temporary,
            plt.rc_context({"svg.hashsalt": "wyk"}),
        ):
            figure.savefig(temporary, dpi=200, metadata=metadata)


def save_data(table: pd.DataFrame, experiment: str, name: str) -> None:
    """Writes what a figure shows, ``figures/<experiment>/<name>.csv``."""
    with writing(figures(experiment) / f"{name}.csv") as temporary:
        table.to_csv(temporary, index=False)


def tokens(representations: Sequence[WyckoffRepresentation]) -> Figure:
    """The tokens of each representation, one row of boxes each (paper, Figure 3)."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 0.3 + 0.55 * len(representations)))
        for row, crystal in enumerate(representations):
            sites = zip(
                crystal.elements, crystal.site_symmetries, crystal.enumerations, strict=True
            )
            group = f"{space_group(crystal.space_group).symbol}\n({crystal.space_group})"
            boxes = [group, *(f"{e}\n{s}, {n}" for e, s, n in sites), "STOP"]
            for column, text in enumerate(boxes):
                face = "white" if 0 < column < len(boxes) - 1 else LIGHT
                box = {"boxstyle": "round,pad=0.3", "facecolor": face, "edgecolor": DARK}
                axes.text(column, -row, text, ha="center", va="center", bbox=box)
        columns = 2 + max(len(crystal.letters) for crystal in representations)
        axes.set(xlim=(-0.6, columns - 0.4), ylim=(0.5 - len(representations), 0.5))
        axes.axis("off")
    return closed(figure)


def parameters(table: pd.DataFrame) -> Figure:
    """How many crystals need at most so many parameters, by the way they are described (paper, Figure 2).

    Args:
        table: of `summaries.parameters`.
    """
    labels = {
        "point_cloud": ("point cloud, continuous", "gray", ":"),
        "discrete": ("Wyckoff, discrete", MIDDLE, "--"),
        "continuous": ("Wyckoff, continuous", DARK, "-"),
    }
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 2.2))
        for description, (label, colour, line) in labels.items():
            rows = table[table["description"] == description]
            sns.ecdfplot(
                rows,
                x="parameters",
                weights="crystals",
                ax=axes,
                label=label,
                color=colour,
                linestyle=line,
            )
        axes.set(xscale="log", xlabel="parameters of a crystal", ylabel="crystals, cumulated")
        axes.set_xticks([1, 2, 5, 10, 20, 50, 100, 200], minor=False)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        figure.legend(loc="outside upper left", ncols=2)
    return closed(figure)


def space_groups(table: pd.DataFrame) -> Figure:
    """Share of each space group, the crystal systems marked (paper, Figure 4).

    Args:
        table: columns `space_group` and `crystals`.
    """
    share = table.set_index("space_group")["crystals"] / table["crystals"].sum()
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 2.2))
        first = 0.5
        for i, (last, name) in enumerate(SYSTEMS):
            if i % 2 == 0:
                axes.axvspan(first, last + 0.5, color=LIGHT, alpha=0.4, linewidth=0)
            axes.text(
                (first + last) / 2,
                1.02,
                name,
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="bottom",
                rotation=90,
                fontsize=6,
            )
            first = last + 0.5
        axes.bar(share.index, share, width=1.4, color=DARK)
        axes.set(xlim=(0.5, 230.5), xlabel="space group", ylabel="crystals")
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_xticks([1, 50, 100, 150, 200, 230])
    return closed(figure)


def variants(table: pd.DataFrame) -> Figure:
    """How many equivalent representations crystals have (paper, §3.3).

    Args:
        table: columns `variants` and `crystals`.
    """
    share = table["crystals"].groupby(table["variants"].clip(upper=MANY)).sum()
    share = share / share.sum()
    labels = [str(count) if count < MANY else f"≥ {MANY}" for count in share.index]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 2.0))
        colours = [DARK if count < 10 else MIDDLE for count in share.index]
        axes.bar(labels, share, color=colours)
        axes.set(xlabel="equivalent Wyckoff representations", ylabel="crystals")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        few = share[share.index < 10].sum()
        patches = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in (DARK, MIDDLE)]
        axes.legend(patches, [f"fewer than 10: {few:.1%}", f"10 or more: {1 - few:.1%}"])
    return closed(figure)


def properties(table: pd.DataFrame, titles: dict[str, str]) -> Figure:
    """Numbers of elements, sites and free coordinates, of generated and real crystals (paper, Figures 5, 6, 8, 9).

    Args:
        table: of `summaries.properties`; the test set as bars, others as lines.
        titles: what stands above the panel of each quantity.
    """
    labels = {
        "elements": "elements",
        "sites": "occupied Wyckoff positions",
        "dof": "free coordinates of all positions",
    }
    looks = [(DARK, "-", "o"), (MIDDLE, "--", "s"), ("gray", ":", "^"), ("black", "-.", "D")]
    others = [name for name in table["set"].unique() if name != TEST]
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(3, figsize=(WIDTH, 5.2))
        for axes, (quantity, label) in zip(panels, labels.items(), strict=True):
            parts = dict(iter(table[table["quantity"] == quantity].groupby("set")))
            test = parts[TEST]
            usual = test["share"].cumsum() - test["share"] < USUAL
            least, most = test["value"].min(), test["value"][usual].max()
            axes.bar(test["value"], test["share"], color=LIGHT, width=0.8, label=TEST)
            for name, (colour, line, marker) in zip(others, cycle(looks), strict=False):
                share = parts[name].set_index("value")["share"]
                share = share.reindex(range(least, most + 1), fill_value=0)
                axes.plot(
                    share.index, share, line, color=colour, marker=marker, markersize=3, linewidth=1,
                    label=name,
                )  # fmt: skip
            axes.set_title(titles[quantity], fontsize=6, loc="right")
            axes.set(xlabel=label, ylabel="crystals")
            axes.set(xlim=(least - 0.6, most + 0.6), ylim=(0, None))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return closed(figure)


def crystal(structure: Structure) -> Figure:
    """A picture of the conventional cell, its formula, space group and edges above it.

    Args:
        structure: ordered, any cell.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 2.8))
        cell = draw_cell(axes, structure)
        a, b, c = cell.lattice.abc
        axes.set_title(f"{name(cell)}: a, b, c = {a:.2f}, {b:.2f}, {c:.2f} Å")
        axes.legend(handles=balls(cell), loc="center left", bbox_to_anchor=(1, 0.5))
    return closed(figure)


def conventional(structure: Structure) -> tuple[Structure, Atoms]:
    """The conventional cell, and its atoms to be drawn: those on its faces on every face they touch."""
    cell = SpacegroupAnalyzer(structure, symprec=SYMPREC).get_conventional_standard_structure()
    atoms = AseAtomsAdaptor.get_atoms(cell, msonable=False)
    atoms.wrap(eps=1e-3)
    block = atoms.repeat((2, 2, 2))
    inside = (atoms.cell.scaled_positions(block.positions) < 1 + 1e-3).all(axis=1)
    block = block[inside]
    block.cell = atoms.cell
    return cell, block


def draw_cell(axes: Axes, structure: Structure) -> Structure:
    """Draw the conventional cell, and return it."""
    cell, block = conventional(structure)
    plot_atoms(block, axes, radii=0.45 * covalent_radii[block.numbers], rotation="-80x,-15y,-5z")
    axes.axis("off")
    return cell


def colours(structure: Structure) -> dict[str, str]:
    """Element → colour that its atoms are drawn in."""
    return {
        chemical_symbols[z]: to_hex(jmol_colors[z]) for z in sorted(set(structure.atomic_numbers))
    }


def balls(structure: Structure) -> list[Line2D]:
    """What a legend needs to tell the elements of a drawn cell."""
    look = {"marker": "o", "markersize": 8, "linestyle": "", "markeredgecolor": "black"}
    return [
        Line2D([], [], color=colour, label=element, **look)
        for element, colour in colours(structure).items()
    ]


def name(structure: Structure) -> str:
    """Formula and space group, such as "MgO, Fm-3m"."""
    found = from_structure(structure)
    symbol = space_group(found.space_group).symbol
    # from the least electronegative element on, as chemists write it
    parts = sorted(Composition(found.formula).items())
    formula = "".join(f"{e.symbol}{n:g}" if n > 1 else e.symbol for e, n in parts)
    return f"{formula}, {symbol}"


def closed(figure: Figure) -> Figure:
    """The figure, forgotten by pyplot, so that a notebook shows it once."""
    plt.close(figure)
    return figure
