"""What an error says: what was given, what would be right, and the nearest valid name."""

import inspect

import pytest

import mo_interp
from mo_interp import errors
from mo_interp.errors import BadSite, BadValues, CorruptArtefact, MoInterpError, nearest
from mo_interp.records import Record, read_records
from mo_interp.sites import Site, SiteSet


class Shape:
    n_layers, n_heads, d_head, d_mlp, d_model, attn_only = 2, 4, 16, 256, 64, False


SITES = SiteSet.of(Shape())


def test_nearest_gives_one_close_name_else_what_there_is():
    names = ["quirky_user", "ordered_phrase", "hand_wired"]
    assert nearest("qirky_user", names) == "; did you mean 'quirky_user'?"
    assert nearest("HAND_WIRED", names) == "; did you mean 'hand_wired'?"
    assert nearest("zzz", names) == "; there is: quirky_user, ordered_phrase, hand_wired"
    assert nearest("zzz", []) == "; there is none"
    many = nearest("zzz", (f"name{i}" for i in range(15)))
    assert many.endswith("name10, name11, ... (3 more)")


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_ours_and_explained(name):
    thing = getattr(errors, name)
    assert inspect.getdoc(thing)
    if inspect.isclass(thing):
        assert issubclass(thing, MoInterpError)


@pytest.mark.parametrize(
    ("site", "message"),
    [
        ("L2.resid_post", "site 'L2.resid_post': this model has layers 0-1"),
        ("L*.resid_post@", "sites 'L*.resid_post@': cannot be read; '*' stands for a layer, "
         "head or kind, as in 'L*.resid_post@-1' or 'L*.H*.z@trigger'"),
        ("L0.H4.z@-1", "site 'L0.H4.z@-1': this model has heads 0-3 of z"),
        ("L1.post[200:257]", "site 'L1.post[200:257]': L1.post has units 0-255 in this model, "
         "so a range ends at 256 or before"),
        ("L*.resid_pots@-1", "sites 'L*.resid_pots@-1': no site of this model matches; "
         "did you mean 'L*.resid_post'?"),
        ("L*.H*.zz", "sites 'L*.H*.zz': no site of this model matches; did you mean 'L*.H*.z'?"),
        ("L7.H*.z", "sites 'L7.H*.z': no site of this model matches; did you mean 'L*.H*.z'?"),
    ],
)  # fmt: skip
def test_a_site_outside_the_model(site, message):
    with pytest.raises(BadSite) as caught:
        SITES.match(site)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("L1.resid_pots", "site 'L1.resid_pots': there is no kind 'resid_pots'; "
         "did you mean 'resid_post'?"),
        ("resid_post", "site 'resid_post': needs a layer, such as 'L0.resid_post'"),
        ("L0.embed", "site 'L0.embed': embed has no layer"),
        ("L0.H1.post", "site 'L0.H1.post': post has no heads; these have: "
         "q, k, v, attn_scores, pattern, z"),
        ("L0.pattern[0:2]", "site 'L0.pattern[0:2]': pattern has no units, "
         "only heads and positions"),
        ("L0.post[4:4]", "site 'L0.post[4:4]': units are a range [from:to] with 0 <= from < to"),
        ("L0.z@Last", "position '@Last': give an integer such as '@-1', a role such as "
         "'@trigger' or '@trigger[0]', or '@all'"),
        ("L0.*", "site 'L0.*': this is a glob; one site is wanted, such as 'embed', "
         "'L1.resid_post@-1', 'L1.H3.z@trigger' or 'L2.post[256:320]@-1'"),
        ("L1_resid", "site 'L1_resid': cannot be read; write it as 'embed', "
         "'L1.resid_post@-1', 'L1.H3.z@trigger' or 'L2.post[256:320]@-1'"),
    ],
)  # fmt: skip
def test_text_that_is_no_site(text, message):
    with pytest.raises(BadSite) as caught:
        Site.parse(text)
    assert str(caught.value) == message


@pytest.mark.parametrize("position", [1.5, True, ("trigger",)])
def test_a_position_that_is_none(position):
    with pytest.raises(BadSite, match="give an integer, a role such as 'trigger', or None"):
        Site("embed").at(position)


def test_records_say_what_they_hold(tmp_path):
    with pytest.raises(BadValues) as caught:
        Record(kind="x", params={"sites": ["a", "b"]})
    assert str(caught.value) == (
        "record params['sites']: got a list; a record holds text, numbers, true/false, null, "
        "and in its values flat lists of these"
    )
    with pytest.raises(CorruptArtefact, match="no records at '.*': give a .jsonl file"):
        read_records(tmp_path / "absent.jsonl")
    with pytest.raises(CorruptArtefact, match="record of schema 2: this version reads schema 1"):
        Record.from_line('{"kind": "x", "schema": 2}')
    with pytest.raises(CorruptArtefact, match="unknown field 'colour'"):
        Record.from_line('{"kind": "x", "schema": 1, "colour": 1}')
    (tmp_path / "r.jsonl").write_text('{"kind": "x", "schema": 1}\n{"kind"\n')
    with pytest.raises(CorruptArtefact, match="r.jsonl' line 2: not a record"):
        read_records(tmp_path / "r.jsonl")


def test_an_unknown_public_name_gets_the_nearest():
    with pytest.raises(AttributeError, match="has no 'Sitee'; did you mean 'Site'"):
        _ = mo_interp.Sitee
    assert mo_interp.Site is Site
    assert set(mo_interp.__all__) <= set(dir(mo_interp))
