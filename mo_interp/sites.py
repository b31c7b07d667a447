"""Sites: named places in a model, as values that print, parse, sort and hash. No torch.

The grammar is ``[L<layer>.][H<head>.]<kind>[<from>:<to>][@<position>]``, in TransformerLens words::

    embed                    the token embedding, every position
    L1.attn_out@-1           what attention adds in layer 1, at the last position
    L1.H3.z@trigger[0]       head 3's output before W_O, at the first trigger position of each row
    L1.z                     the same for all heads, flattened to n_heads * d_head
    L2.post[256:320]@-1      neurons 256 to 319 of layer 2, after the activation function

A *cut* (``resid_pre resid_mid resid_post``) is the whole residual stream; everything else is a
*part*. A position is an integer, a role resolved row by row (``@trigger``, ``@entity``,
``@trigger[0]``), or absent, which is every position (``@all`` reads the same and prints as
nothing). For ``pattern`` and ``attn_scores`` the position is the query's.

A :class:`SiteSet` is what one model offers. Its globs use ``*``, which does not cross a dot;
``pattern`` and ``attn_scores`` are matched only by their names.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Protocol, TypeAlias

from mo_interp.errors import BadSite, nearest

__all__ = ["CUTS", "KINDS", "HasShape", "Position", "Site", "SiteSet"]

Position: TypeAlias = int | str | None

_EMBEDDINGS = ("embed", "pos_embed")
_IN_LAYER = (
    "resid_pre",
    "q",
    "k",
    "v",
    "attn_scores",
    "pattern",
    "z",
    "attn_out",
    "resid_mid",
    "pre",
    "post",
    "mlp_out",
    "resid_post",
)
KINDS = _EMBEDDINGS + _IN_LAYER
"""Every kind of site, in the order in which a forward pass computes them."""
CUTS = ("resid_pre", "resid_mid", "resid_post")
"""The kinds that are the whole residual stream."""

_HEADED = ("q", "k", "v", "attn_scores", "pattern", "z")
_SQUARE = ("attn_scores", "pattern")
_NEEDS_MLP = ("resid_mid", "pre", "post", "mlp_out")
_HOOKED_IN = {kind: "attn." for kind in _HEADED} | {"pre": "mlp.", "post": "mlp."}

_FORM = re.compile(r"(?:L(\d+)\.)?(?:H(\d+)\.)?([a-z_]+)(?:\[(\d+):(\d+)\])?(?:@(.+))?")
_GLOB = re.compile(r"([^@\[\]]+)(?:\[(\d+):(\d+)\])?(?:@(.+))?")
_ROLE = re.compile(r"[a-z][a-z0-9_]*(?:\[\d+\])?")
_EXAMPLES = "'embed', 'L1.resid_post@-1', 'L1.H3.z@trigger' or 'L2.post[256:320]@-1'"


def _position(given: Position) -> Position:
    """A canonical position: an int, a role without its '@', or None for every position."""
    if given is None or isinstance(given, bool):
        if given is None:
            return None
        raise BadSite(f"position {given!r}: give an integer, a role such as 'trigger', or None")
    if isinstance(given, str):
        text = given.removeprefix("@")
        if text == "all":
            return None
        if re.fullmatch(r"-?\d+", text):
            return int(text)
        if _ROLE.fullmatch(text):
            return text
        raise BadSite(
            f"position '@{text}': give an integer such as '@-1', a role such as '@trigger' "
            "or '@trigger[0]', or '@all'"
        )
    try:
        return operator.index(given)
    except TypeError:
        raise BadSite(
            f"position {given!r}: give an integer, a role such as 'trigger', or None"
        ) from None


@functools.total_ordering
@dataclass(frozen=True, repr=False)
class Site:
    """A named place in a model; see the module's docstring for the grammar.

    Raises BadSite on an unknown kind, or on fields the kind does not have.
    """

    kind: str
    """One of :data:`KINDS`."""
    layer: int | None = None
    """From 0; None for the embeddings, which lie before every layer."""
    head: int | None = None
    """One head of ``q k v z pattern attn_scores``; None is all of them."""
    units: tuple[int, int] | None = None
    """A range of coordinates ``(from, to)``, ``to`` not included; None is all of them."""
    position: Position = None
    """An integer, a role, or None for every position."""

    def __post_init__(self) -> None:
        """Check the fields against the kind and bring the position into its canonical form."""
        if self.kind not in KINDS:
            raise BadSite(f"site kind '{self.kind}': unknown{nearest(self.kind, KINDS)}")
        for name in ("layer", "head"):
            number = getattr(self, name)
            if number is not None:
                object.__setattr__(self, name, operator.index(number))
                if getattr(self, name) < 0:
                    raise BadSite(f"{name} {number} of a site: it counts from 0")
        if self.kind in _EMBEDDINGS and self.layer is not None:
            raise BadSite(f"site 'L{self.layer}.{self.kind}': {self.kind} has no layer")
        if self.kind in _IN_LAYER and self.layer is None:
            raise BadSite(f"site '{self.kind}': needs a layer, such as 'L0.{self.kind}'")
        if self.head is not None and self.kind not in _HEADED:
            raise BadSite(
                f"site 'L{self.layer}.H{self.head}.{self.kind}': {self.kind} has no heads; "
                f"these have: {', '.join(_HEADED)}"
            )
        object.__setattr__(self, "position", _position(self.position))
        if self.units is not None:
            self._check_units()

    def _check_units(self) -> None:
        start, stop = (operator.index(u) for u in self.units or ())
        object.__setattr__(self, "units", (start, stop))
        if self.kind in _SQUARE:
            raise BadSite(f"site '{self}': {self.kind} has no units, only heads and positions")
        if not 0 <= start < stop:
            raise BadSite(f"site '{self}': units are a range [from:to] with 0 <= from < to")

    @classmethod
    def parse(cls, text: str | Site) -> Site:
        """The site that ``text`` prints as (a Site passes through); raises BadSite otherwise."""
        return text if isinstance(text, Site) else _parse(text)

    def __str__(self) -> str:
        """The shortest text that parses to this site."""
        layer = "" if self.layer is None else f"L{self.layer}."
        head = "" if self.head is None else f"H{self.head}."
        units = "" if self.units is None else f"[{self.units[0]}:{self.units[1]}]"
        position = "" if self.position is None else f"@{self.position}"
        return f"{layer}{head}{self.kind}{units}{position}"

    def __repr__(self) -> str:
        """``Site('L1.H3.z@-1')``."""
        return f"Site('{self}')"

    @property
    def _order(self) -> tuple[object, ...]:
        """Order of computation, then whole before piece, then position (integers, then roles)."""
        role = isinstance(self.position, str)
        return (
            -1 if self.layer is None else self.layer,
            KINDS.index(self.kind),
            -1 if self.head is None else self.head,
            self.units or (-1, -1),
            (0, 0, "")
            if self.position is None
            else (2, 0, self.position)
            if role
            else (1, self.position, ""),
        )

    def __lt__(self, other: object) -> bool:
        """Sites sort in the order in which a forward pass computes them."""
        return self._order < other._order if isinstance(other, Site) else NotImplemented

    @property
    def cut(self) -> bool:
        """Whether this is the whole residual stream at a layer."""
        return self.kind in CUTS

    @property
    def part(self) -> bool:
        """Whether this is what one component computes or adds, rather than the whole stream."""
        return not self.cut

    @property
    def bare(self) -> Site:
        """The same place without its position."""
        return self if self.position is None else replace(self, position=None)

    @property
    def whole(self) -> Site:
        """The same place without its position and its range of units."""
        return replace(self, position=None, units=None)

    @property
    def hook_name(self) -> str:
        """The TransformerLens hook it is read and written at, such as ``blocks.1.attn.hook_z``."""
        if self.layer is None:
            return f"hook_{self.kind}"
        return f"blocks.{self.layer}.{_HOOKED_IN.get(self.kind, '')}hook_{self.kind}"

    def at(self, position: Position) -> Site:
        """The same place at another position: an integer, a role (``"trigger"``), None for all."""
        return replace(self, position=position)


@functools.lru_cache(maxsize=4096)
def _parse(text: str) -> Site:
    if "*" in str(text):
        raise BadSite(f"site '{text}': this is a glob; one site is wanted, such as {_EXAMPLES}")
    found = _FORM.fullmatch(str(text).strip())
    if found is None:
        raise BadSite(f"site '{text}': cannot be read; write it as {_EXAMPLES}")
    layer, head, kind, start, stop, position = found.groups()
    if kind not in KINDS:
        raise BadSite(f"site '{text}': there is no kind '{kind}'{nearest(kind, KINDS)}")
    return Site(
        kind,
        None if layer is None else int(layer),
        None if head is None else int(head),
        None if start is None else (int(start), int(stop)),
        position,
    )


class HasShape(Protocol):
    """What :meth:`SiteSet.of` reads from a model's shape."""

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        ...

    @property
    def n_heads(self) -> int:
        """Query heads per block; ``n_key_value_heads``, where there is one, counts k and v."""
        ...

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        ...

    @property
    def d_head(self) -> int:
        """Width of one head."""
        ...

    @property
    def d_mlp(self) -> int:
        """Neurons per block."""
        ...

    @property
    def attn_only(self) -> bool:
        """Whether the blocks have no MLP (and so no resid_mid)."""
        ...


def _layer_sites(shape: HasShape, layer: int) -> Iterator[tuple[Site, int | None]]:
    """Sites of one block with their widths, in order; each headed kind whole, then by head."""
    n_kv = getattr(shape, "n_key_value_heads", None) or shape.n_heads
    for kind in _IN_LAYER:
        if shape.attn_only and kind in _NEEDS_MLP:
            continue
        if kind not in _HEADED:
            yield Site(kind, layer), shape.d_mlp if kind in ("pre", "post") else shape.d_model
            continue
        heads = n_kv if kind in ("k", "v") else shape.n_heads
        square = kind in _SQUARE
        yield Site(kind, layer), None if square else heads * shape.d_head
        for head in range(heads):
            yield Site(kind, layer, head), None if square else shape.d_head


@dataclass(frozen=True)
class SiteSet:
    """The sites one model offers, without positions, in the order of the forward pass."""

    widths: Mapping[Site, int | None] = field(hash=False)
    """Coordinates at each offered site; None for pattern and attn_scores (positions by it)."""

    def __post_init__(self) -> None:
        """Sort and freeze; raises BadSite where a site carries a position or units."""
        for site in self.widths:
            if site != site.whole:
                raise BadSite(f"site '{site}': a SiteSet holds sites without position or units")
        ordered = {site: self.widths[site] for site in sorted(self.widths)}
        object.__setattr__(self, "widths", MappingProxyType(ordered))

    @classmethod
    def of(cls, shape: HasShape) -> SiteSet:
        """Every site a body of this shape can have."""
        pairs: dict[Site, int | None] = {Site(kind): shape.d_model for kind in _EMBEDDINGS}
        for layer in range(shape.n_layers):
            pairs.update(_layer_sites(shape, layer))
        return cls(pairs)

    @property
    def sites(self) -> tuple[Site, ...]:
        """The offered sites, in order."""
        return tuple(self.widths)

    def __iter__(self) -> Iterator[Site]:
        """Iterate over the offered sites, in order."""
        return iter(self.widths)

    def __len__(self) -> int:
        """How many sites are offered."""
        return len(self.widths)

    def __contains__(self, site: object) -> bool:
        """Whether ``site`` (a Site or its text, at any position) may be read and written."""
        try:
            self.check(site)  # type: ignore[arg-type]
        except BadSite:
            return False
        return True

    def keep(self, wanted: Callable[[Site], bool]) -> SiteSet:
        """The sites for which ``wanted`` is true, such as those an audit proved."""
        return SiteSet({site: width for site, width in self.widths.items() if wanted(site)})

    def width(self, site: Site | str) -> int | None:
        """Coordinates at ``site``, its units counted; None for pattern and attn_scores."""
        site = self.check(site)
        if site.units is not None:
            return site.units[1] - site.units[0]
        return self.widths[site.whole]

    def check(self, site: Site | str) -> Site:
        """The parsed site, where this model offers it; else BadSite says what there is."""
        site = Site.parse(site)
        if site.whole not in self.widths:
            raise BadSite(f"site '{site}': {self._why_not(site)}")
        width = self.widths[site.whole]
        if site.units is not None and width is not None and site.units[1] > width:
            raise BadSite(
                f"site '{site}': {site.whole} has units 0-{width - 1} in this model, "
                f"so a range ends at {width} or before"
            )
        return site

    def _why_not(self, site: Site) -> str:
        layers = {s.layer for s in self.widths if s.layer is not None}
        if site.layer is not None and layers and site.layer not in layers:
            return f"this model has layers {min(layers)}-{max(layers)}"
        heads = {s.head for s in self.widths if (s.layer, s.kind) == (site.layer, site.kind)}
        heads.discard(None)
        if site.head is not None and heads:
            return f"this model has heads 0-{max(h for h in heads if h is not None)} of {site.kind}"
        here = [str(s) for s in self.widths if s.layer == site.layer and s.head is None]
        return f"this model does not offer {site.kind} here{nearest(str(site.whole), here)}"

    def match(self, globs: str | Site | Iterable[str | Site]) -> tuple[Site, ...]:
        """The offered sites that a glob, or any of several, names; with its position and units.

        Args:
            globs: such as ``"L*.resid_post@-1"``, ``"L*.H*.z@trigger"``, a Site, or several.

        Returns:
            Each site once: glob by glob, and within a glob in the order of the forward pass.

        Raises BadSite where a glob matches nothing, or names a unit range a site does not have.
        """
        several = [globs] if isinstance(globs, str | Site) else list(globs)
        found: dict[Site, None] = {}
        for one in several:
            sites = self._expand(one) if "*" in str(one) else (self.check(one),)
            found.update(dict.fromkeys(sites))
        return tuple(found)

    def _expand(self, glob: str | Site) -> tuple[Site, ...]:
        form = _GLOB.fullmatch(str(glob).strip())
        if form is None or "*" in (form[4] or ""):
            raise BadSite(
                f"sites '{glob}': cannot be read; '*' stands for a layer, head or kind, "
                "as in 'L*.resid_post@-1' or 'L*.H*.z@trigger'"
            )
        stem, start, stop, position = form.groups()
        units = None if start is None else (int(start), int(stop))
        by_name = "*" not in stem.rpartition(".")[2]
        pattern = re.compile(re.escape(stem).replace(r"\*", r"[^.]*"))
        sites = tuple(
            self.check(replace(site, units=units, position=position))
            for site in self.widths
            if (by_name or site.kind not in _SQUARE) and pattern.fullmatch(str(site))
        )
        if not sites:
            globbed = [re.sub(r"(?<=^L)\d+|(?<=\.H)\d+", "*", str(s)) for s in self.widths]
            raise BadSite(
                f"sites '{glob}': no site of this model matches{nearest(stem, globbed)}"
            )
        return sites
