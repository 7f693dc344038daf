"""What a crystal is here: a space group and a set of occupied Wyckoff positions.

- `WyckoffRepresentation`, from a crystal by `from_structure` or `from_cell`;
- `space_group`: the Wyckoff positions of each of the 230 groups;
- `to_table`, `from_table`, `read_representations`, `write_representations`: many of them as Parquet;
- `Formula`: exact ones and such as ABX3; `holds`: which numbers of atoms a group has room for;
- `free_numbers`, `parameter_counts`: how many numbers describe a crystal;
- `VOCABULARY`: the elements that networks know; `element_descriptors`, `group_descriptors`, `similar_elements`: what
  they are told of elements and groups;
- `read_cif`, `symmetrised_cif`: crystals as CIF text.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    (),
    {
        "cif_writer": ["read_cif", "symmetrised_cif"],
        "descriptors": [
            "VOCABULARY",
            "element_descriptors",
            "group_descriptors",
            "similar_elements",
        ],
        "formulas": ["MOST_CELL_ATOMS", "Formula", "fixed_sizes", "holds", "openings"],
        "parameters": ["free_numbers", "parameter_counts"],
        "representation": [
            "MOST_ATOMS",
            "WyckoffRepresentation",
            "check_cell",
            "face_distances",
            "from_cell",
            "from_structure",
        ],
        "spacegroups": ["space_group"],
        "symmetry_fit": ["SYMPREC"],
        "symmetry_search": ["ANGLE_TOLERANCE"],
        "tables": [
            "COLUMNS",
            "from_table",
            "read_representations",
            "read_rows",
            "row_fault",
            "to_table",
            "write_representations",
            "write_samples",
        ],
    },
)
