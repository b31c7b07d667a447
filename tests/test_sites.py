"""Sites print, parse, sort and hash; a model's SiteSet offers exactly what its shape has."""

import random
from dataclasses import FrozenInstanceError, dataclass

import pytest

from mo_interp.errors import BadSite
from mo_interp.sites import CUTS, KINDS, Site, SiteSet


@dataclass(frozen=True)
class Shape:
    n_layers: int = 2
    n_heads: int = 4
    d_head: int = 16
    d_mlp: int = 256
    d_model: int = 64
    attn_only: bool = False


@dataclass(frozen=True)
class Grouped(Shape):
    n_key_value_heads: int = 2


SITES = SiteSet.of(Shape())


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("embed", ("embed", None, None, None, None)),
        ("pos_embed@0", ("pos_embed", None, None, None, 0)),
        ("L1.attn_out@-1", ("attn_out", 1, None, None, -1)),
        ("L1.H3.z@-1", ("z", 1, 3, None, -1)),
        ("L1.z", ("z", 1, None, None, None)),
        ("L12.H10.attn_scores@entity", ("attn_scores", 12, 10, None, "entity")),
        ("L2.post[256:320]@-1", ("post", 2, None, (256, 320), -1)),
        ("L0.H1.z[0:4]@trigger[0]", ("z", 0, 1, (0, 4), "trigger[0]")),
        ("L0.resid_mid@near_miss", ("resid_mid", 0, None, None, "near_miss")),
    ],
)
def test_text_and_site_are_one_to_one(text, fields):
    site = Site.parse(text)
    assert (site.kind, site.layer, site.head, site.units, site.position) == fields
    assert str(site) == text
    assert site == Site(*fields)
    assert Site.parse(site) is site
    assert eval(repr(site), {"Site": Site.parse}) == site


def test_every_offered_site_round_trips_at_every_position():
    for site in SITES:
        for position in (None, 3, -1, "trigger", "trigger[1]"):
            placed = site.at(position)
            assert Site.parse(str(placed)) == placed
            assert placed.bare == site


def test_equal_sites_are_equal_however_they_were_written():
    assert Site.parse("L0.q@all") == Site.parse("L0.q") == Site("q", 0, position="all")
    assert Site("z", 1, position="@trigger") == Site.parse("L1.z@trigger")
    assert Site("z", 1).at("-1") == Site("z", 1, position=-1)
    assert hash(Site.parse("L0.q@all")) == hash(Site("q", 0))
    assert len({Site.parse("L1.z@-1"), Site("z", 1, position=-1), Site("z", 1)}) == 2


def test_a_site_is_frozen():
    with pytest.raises(FrozenInstanceError):
        Site("embed").kind = "pos_embed"


def test_numpy_integers_are_integers():
    np = pytest.importorskip("numpy")
    site = Site("z", np.int64(1), np.int64(2), position=np.int64(-1))
    assert site == Site("z", 1, 2, position=-1)
    assert type(site.layer) is type(site.position) is int


def test_sites_sort_as_a_forward_pass_computes_them():
    texts = ["embed", "pos_embed", "L0.resid_pre", "L0.q", "L0.pattern", "L0.z", "L0.H0.z"]
    texts += ["L0.H1.z", "L0.attn_out", "L0.resid_mid", "L0.post", "L0.post[0:8]", "L0.post[8:9]"]
    texts += ["L0.mlp_out", "L0.resid_post", "L0.resid_post@-1", "L0.resid_post@2"]
    texts += ["L0.resid_post@entity", "L0.resid_post@trigger", "L1.resid_pre", "L10.resid_pre"]
    ordered = [Site.parse(text) for text in texts]
    shuffled = ordered.copy()
    random.Random(0).shuffle(shuffled)
    assert shuffled != ordered
    assert sorted(shuffled) == ordered
    assert ordered[0] < ordered[1] <= ordered[1] and ordered[2] > ordered[1]


@pytest.mark.parametrize(
    ("text", "hook"),
    [
        ("embed", "hook_embed"),
        ("pos_embed", "hook_pos_embed"),
        ("L0.resid_pre", "blocks.0.hook_resid_pre"),
        ("L1.resid_mid@-1", "blocks.1.hook_resid_mid"),
        ("L1.attn_out", "blocks.1.hook_attn_out"),
        ("L1.mlp_out", "blocks.1.hook_mlp_out"),
        ("L2.H3.z@-1", "blocks.2.attn.hook_z"),
        ("L2.attn_scores", "blocks.2.attn.hook_attn_scores"),
        ("L2.post[0:4]", "blocks.2.mlp.hook_post"),
        ("L2.pre", "blocks.2.mlp.hook_pre"),
    ],
)
def test_hook_names_are_transformer_lens_names(text, hook):
    assert Site.parse(text).hook_name == hook


def test_cuts_and_parts():
    for kind in KINDS:
        site = Site(kind, None if "embed" in kind else 0)
        assert site.cut is (kind in CUTS)
        assert site.part is not site.cut


def test_a_shape_offers_each_of_its_sites_once():
    per_layer = 13 + 6 * 4
    assert len(SITES) == 2 + 2 * per_layer == len(set(SITES.sites))
    assert SITES.sites == tuple(sorted(SITES.sites))
    bare = SiteSet.of(Shape(attn_only=True))
    assert {s.kind for s in SITES} - {s.kind for s in bare} == {
        "resid_mid",
        "pre",
        "post",
        "mlp_out",
    }


def test_widths():
    widths = {"embed": 64, "L1.resid_post@-1": 64, "L0.z": 64, "L0.H3.z": 16, "L0.post": 256}
    widths |= {"L0.post[10:42]@-1": 32, "L0.pattern": None, "L0.H1.attn_scores": None}
    assert {text: SITES.width(text) for text in widths} == widths


def test_grouped_keys_and_values_have_their_own_heads():
    sites = SiteSet.of(Grouped())
    assert sites.width("L0.k") == 32
    assert "L0.H3.q" in sites
    assert "L0.H2.v" not in sites


def names(sites) -> list[str]:
    return [str(site) for site in sites]


def test_a_glob_names_sites_with_its_position():
    assert names(SITES.match("L*.resid_post@-1")) == ["L0.resid_post@-1", "L1.resid_post@-1"]
    assert len(SITES.match("L*.H*.z@trigger")) == 8
    assert names(SITES.match("L1.H*.k")) == ["L1.H0.k", "L1.H1.k", "L1.H2.k", "L1.H3.k"]
    assert names(SITES.match("*embed")) == ["embed", "pos_embed"]
    assert names(SITES.match("L*.post[4:8]@-1")) == ["L0.post[4:8]@-1", "L1.post[4:8]@-1"]


def test_a_star_does_not_cross_a_dot():
    assert all(site.head is None for site in SITES.match("L*.*"))
    assert names(SITES.match("*")) == ["embed", "pos_embed"]


def test_pattern_and_scores_come_only_by_name():
    kinds = {site.kind for site in SITES.match(["L*.*", "L*.H*.*", "L*.*t*"])}
    assert kinds == set(KINDS) - {"embed", "pos_embed", "pattern", "attn_scores"}
    assert len(SITES.match("L*.H*.pattern")) == 8
    assert names(SITES.match("L*.attn_scores@-1")) == ["L0.attn_scores@-1", "L1.attn_scores@-1"]


def test_several_globs_give_each_site_once_in_the_order_given():
    found = SITES.match(["L1.*_out@-1", Site.parse("L0.H2.z"), "L*.attn_out@-1"])
    assert names(found) == ["L1.attn_out@-1", "L1.mlp_out@-1", "L0.H2.z", "L0.attn_out@-1"]


def test_a_site_that_was_not_proved_is_not_offered():
    proved = SITES.keep(lambda site: site.kind != "resid_mid")
    assert "L0.resid_mid" in SITES
    assert "L0.resid_mid" not in proved
    assert len(proved) == len(SITES) - 2
    with pytest.raises(BadSite, match="does not offer resid_mid here"):
        proved.check("L0.resid_mid@-1")
    with pytest.raises(BadSite, match="matches"):
        proved.match("L*.resid_mid")


def test_a_site_set_holds_no_positions():
    with pytest.raises(BadSite, match="without position or units"):
        SiteSet({Site("embed", position=0): 64})
