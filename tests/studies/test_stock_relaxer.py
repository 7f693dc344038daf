"""Our relaxer beside the stock one, from the same starts."""

from conftest import INVALID, SALT

from wyk.studies import stock_relaxer


def test_both_end_at_rock_salt_and_an_impossible_start_has_no_rows():
    table = stock_relaxer.compare([INVALID, SALT], seed=0)
    assert set(table["start"]) == {1}
    assert set(table["relaxer"]) == {stock_relaxer.OURS, stock_relaxer.STOCK}
    ends = stock_relaxer.summary(table).loc[1]
    energies, calls = ends["last_energy"], ends["calls"]
    assert abs(energies[stock_relaxer.OURS] - energies[stock_relaxer.STOCK]) < 0.005
    assert (calls == table.groupby("relaxer")["call"].count()).all()
    assert calls[stock_relaxer.OURS] < calls[stock_relaxer.STOCK]
