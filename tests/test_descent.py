"""Our relaxer beside the stock one, from the same starts."""

from conftest import INVALID, SALT

from wyk import descent


def test_both_end_at_rock_salt_and_an_impossible_start_has_no_rows():
    table = descent.compare([INVALID, SALT], seed=0)
    assert set(table["start"]) == {1}
    assert set(table["relaxer"]) == {descent.OURS, descent.STOCK}
    ends = descent.summary(table).loc[1]
    energies, calls = ends["last_energy"], ends["calls"]
    assert abs(energies[descent.OURS] - energies[descent.STOCK]) < 0.005
    assert (calls == table.groupby("relaxer")["call"].count()).all()
    assert calls[descent.OURS] < calls[descent.STOCK]
