"""Files that people have, and data sets: whatever holds crystals is read, and what cannot be is said with its reason.

- `datasets`: a source of any kind as representations or crystals (`load`, `read`, `structures`, `represent`);
- `CrystalSet`: both at once;
- `sources`: a data set by its name, or a file, as records;
- `readers`: a file as records, one for each crystal in it;
- `cells`: a record as a crystal;
- `settings`: how a space group can be written.

`python -m wyk.files.downloads` fetches the third-party data sets.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    ["cells", "datasets", "readers", "settings", "sources"],
    {"crystal_sets": ["CrystalSet"]},
)
