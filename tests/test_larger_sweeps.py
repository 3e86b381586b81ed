"""A larger sweep under the name of one that is finished: only the new runs are made (toy.py)."""

from toy import call, executed


def test_more_seeds_make_the_new_runs_alone_and_all_are_compared(toy):
    assert call(toy, "-p", "SEED", 1, 2)[0] == 0
    before, made = executed(toy), (toy / "runs/sweep/SEED=1/metrics.json").stat().st_mtime_ns
    code, output = call(toy, "-p", "SEED", 1, 2, 3)
    assert code == 0 and "2 of 3 runs are finished already" in output and "1 run to do" in output
    after = executed(toy)
    assert after == before | {"sweep/SEED=3": "04 05"}, "loading and cutting are shared with the first two"
    assert (toy / "runs/sweep/SEED=1/metrics.json").stat().st_mtime_ns == made
    assert "['SEED=1', 'SEED=2', 'SEED=3']" in (toy / "runs/sweep/notebooks/07_compare.ipynb").read_text()


def test_where_another_parameter_varies_the_runs_get_other_names_and_that_is_said(quick, capsys):
    assert quick.main(["-p", "SEED", "1", "2"]) == 0
    assert quick.main(["-p", "SEED", "1", "2", "-p", "MAX_LEN", "64", "128"]) == 0
    trained = {line.split()[0] for line in quick.executed if line.endswith(" 04")}
    lengths = {f"MAX_LEN={length},SEED={seed}" for length in (64, 128) for seed in (1, 2)}
    assert trained == {"SEED=1", "SEED=2"} | lengths
    assert "(2 of them not of this call, such as SEED=1: --sweep NAME" in capsys.readouterr().out


def test_other_values_of_what_does_not_vary_are_refused_under_the_same_name(quick, capsys):
    assert quick.main(["-p", "SEED", "1", "2", "-p", "MAX_LEN", "64"]) == 0
    assert quick.main(["-p", "SEED", "1", "2", "3", "-p", "MAX_LEN", "32"]) == 2
    assert "MAX_LEN 64 (now 32): choose another --sweep" in capsys.readouterr().err
