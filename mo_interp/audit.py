"""Which sites of a body are sound: what may be offered, because a write there does what it says.

Libraries drop some writes silently and let others reach only one branch, so every site that is
offered has first passed these steps, on the installed versions (:func:`audit`):

1. The body's weights are drawn at random for the duration, so that what is judged is the wiring
   and not a head that training left at zero. They come back whatever happens.
2. Two random prompts *a* and *b* of one length are run once, every site being read.
3. *moves*: random noise written at the site changes the logits. (A constant would not do: layer
   norm undoes it.) *identity*: writing back what was read changes no bit of them.
4. *law*: b's values are written into the run of a, and the outcome is known in advance:

   - a cut (``resid_pre resid_mid resid_post``): the logits of b;
   - what is added to the stream (``embed pos_embed attn_out mlp_out``): with the other parts of
     the cut taken off, so that all parts together make b's cut, the logits of b;
   - ``z`` and ``post``: b's ``attn_out`` and ``mlp_out``; ``pre``: b's ``post`` (in a gated MLP,
     b's act times a's gate); ``attn_scores``: a pattern that is their softmax; ``v`` and
     ``pattern``: the ``z`` that the two multiply to; ``q`` and ``k``: at (odd, even) and (even,
     odd) positions the scores of a stream mixed of the two prompts. In all of them, writing the
     ``resid_post`` that was read in the edited run into an unedited one gives the same logits,
     so that nothing went past the cut;
   - one head: what writing that slice of the whole site gives, which must be sound itself.
5. *paths*: with fused and with explicit attention the logits are the same. *names*: a misspelt
   kind and a layer too many raise BadSite. *hooks*: nothing stays in the body, also after an
   exception inside an edit.

All sites of a layer are tried in one batch, one to a row; whatever fails is tried again alone, so
that no site is blamed for another's fault. The laws of what lies inside attention and MLP rest on
writes at the cuts of their layer: where such a cut is unsound they go unproved, and unoffered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor, nn

from mo_interp.errors import BadSite
from mo_interp.model import EXPLICIT, Model, Run
from mo_interp.sites import Site, SiteSet

__all__ = ["CHECKS", "SiteReport", "audit", "hooks_in", "sound_sites"]

CHECKS = {
    "read": "its hook does not fire",
    "runs": "writing there raises",
    "moves": "a random edit changes no logit",
    "identity": "an identity edit changes the logits",
    "law": "another run's values do not give that run's outcome",
    "paths": "fused and explicit attention disagree about an edit there",
    "names": "a misspelt name of it does not raise",
    "hooks": "hooks stay in the body after a run",
}
"""Every check by name, with what it means to fail it."""
POSITIONS = 6
TOLERANCE = 1e-5
_ADDED = ("embed", "pos_embed", "attn_out", "mlp_out")


@dataclass(frozen=True)
class SiteReport:
    """What the audit found at one site."""

    site: Site
    """Without position or units."""
    failed: tuple[str, ...] = ()
    """Names of :data:`CHECKS`; empty for a sound site."""
    error: str = ""
    """The exception's text, where a run raised."""

    @property
    def sound(self) -> bool:
        """Whether the site may be offered."""
        return not self.failed

    def __str__(self) -> str:
        """``L0.resid_mid: unsound: another run's values do not give that run's outcome``."""
        if self.sound:
            return f"{self.site}: sound"
        why = "; ".join(CHECKS[name] for name in self.failed)
        return f"{self.site}: unsound: {why}{f' ({self.error})' if self.error else ''}"


def audit(model: Model, *, seed: int = 0) -> tuple[SiteReport, ...]:
    """One report for every site that ``model`` offers, in order.

    The body's weights are replaced while this runs, and restored. The cost is about ten forward
    passes a layer, with as many rows as the layer has sites, and one for every hook.
    """
    with _scrambled(model.body, seed):
        probe = _Probe(model, seed)
        reports: list[SiteReport] = []
        for _, group in groupby(model.sites, lambda s: (s.layer, s.kind in EXPLICIT)):
            reports += _examine(probe, list(group))
    unproved = {report.site for report in reports if not report.sound}
    reports = [
        replace(r, failed=("law",)) if r.sound and replace(r.site, head=None) in unproved else r
        for r in reports
    ]
    return tuple(sorted(reports, key=lambda report: report.site))


def sound_sites(model: Model, *, seed: int = 0) -> SiteSet:
    """The sites of ``model`` that pass every check of :func:`audit`."""
    sound = {report.site for report in audit(model, seed=seed) if report.sound}
    return model.sites.keep(sound.__contains__)


def hooks_in(body: nn.Module) -> int:
    """How many hooks, of the library or of torch, hang in a body."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "fwd_hooks", "bwd_hooks")
    return sum(len(getattr(module, kind, ())) for module in body.modules() for kind in kinds)


def _examine(probe: _Probe, sites: Sequence[Site]) -> list[SiteReport]:
    """Reports of sites tried together; those that fail are tried again, each alone."""
    try:
        reports = probe.check(sites)
    except Exception as err:  # whatever a library raises, the site at fault is not offered
        text = " ".join(str(err).split())[:200]
        reports = [SiteReport(site, ("runs",), f"{type(err).__name__}: {text}") for site in sites]
    if len(sites) == 1:
        return reports
    return [r if r.sound else _examine(probe, [r.site])[0] for r in reports]


@contextmanager
def _scrambled(body: nn.Module, seed: int) -> Iterator[None]:
    """Random weights of ordinary size for the duration, without the global generators."""
    rng = torch.Generator().manual_seed(seed)
    kept = [(weight, weight.detach().clone()) for weight in body.parameters()]
    try:
        with torch.no_grad():
            for weight, _ in kept:
                vector = weight.ndim < 2
                scale = 0.3 if vector else max(weight.shape[-2:]) ** -0.5
                drawn = scale * torch.randn(weight.shape, generator=rng)
                weight.copy_(drawn + 0.5 if vector else drawn)
        yield
    finally:
        with torch.no_grad():
            for weight, old in kept:
                weight.copy_(old)


@dataclass(frozen=True)
class _Row:
    """An edit of one row of a batch in which every row tries another site."""

    site: Site
    row: int
    change: Callable[[Tensor], Tensor]

    def __call__(self, x: Tensor, rows: slice) -> Tensor:
        x = x.clone()
        x[self.row] = self.change(x[self.row])
        return x


class _StopError(Exception):
    """Raised inside an edit, to see what is left behind."""


class _StopOnce:
    """Raises at its first call, and is an identity ever after, should it have been left behind."""

    called = False

    def __call__(self, x: Tensor) -> Tensor:
        if self.called:
            return x
        self.called = True
        raise _StopError


def _close(x: Tensor, y: Tensor) -> bool:
    """Equal to 1e-5 of the larger of 1 and the largest finite value of ``y``."""
    scale = y[y.abs() < 1e9].abs().max().item() if (y.abs() < 1e9).any() else 1.0
    return torch.allclose(x, y, rtol=0, atol=TOLERANCE * max(1.0, scale))


def _mixed(pattern: Tensor, v: Tensor, heads: int, kv_heads: int) -> Tensor:
    """``z [pos, head * d_head]`` of ``pattern [pos, head * key]`` and ``v [key, kv * d_head]``."""
    v = v.unflatten(-1, (kv_heads, -1)).repeat_interleave(heads // kv_heads, dim=1)
    return torch.einsum("qhk,khd->qhd", pattern.unflatten(-1, (heads, -1)), v).flatten(1)


class _Probe:
    """Two prompts, what every site reads on them, and the checks of one group of sites."""

    def __init__(self, model: Model, seed: int) -> None:
        self.model = model
        self.rng = torch.Generator().manual_seed(seed)
        shape = model.shape or model.body.cfg
        size = (1, min(POSITIONS, shape.n_ctx))
        a = torch.randint(shape.d_vocab, size, generator=self.rng)
        other = torch.randint(1, shape.d_vocab, size, generator=self.rng)
        self.prompts = (a, (a + other) % shape.d_vocab)
        self.logits = [model.run(tokens).logits[0] for tokens in self.prompts]
        self.hooks = hooks_in(model.body)  # a bridge hangs up its own during its first run
        self.a, self.b = (self._read_all(tokens) for tokens in self.prompts)
        self.heads = {
            kind: sum(s.kind == kind and s.head is not None and s.layer == 0 for s in self.a)
            for kind in ("z", "v")
        }

    def _read_all(self, tokens: Tensor) -> dict[Site, Tensor]:
        """Site to ``[pos, d]``, for the sites whose hooks fire."""
        try:
            acts = self.model.run(tokens, list(self.model.sites)).acts
        except Exception:  # one of them does not fire: find out which do
            acts = {}
            for site in self.model.sites:
                with suppress(Exception):
                    acts[site] = self.model.run(tokens, [site]).acts[site]
        return {site: x[0] for site, x in acts.items()}

    # One group of sites, one row for each ----------------------------------------------------

    def check(self, sites: Sequence[Site]) -> list[SiteReport]:
        """A report for each of ``sites``, all of one layer and one path of attention."""
        found = [SiteReport(s, ("read",)) for s in sites if s not in self.a or s not in self.b]
        found += [
            SiteReport(s, ("hooks",))
            for s in sites
            if s in self.a and s in self.b and not self._leaves_nothing(s)
        ]
        failed = {report.site for report in found}
        sites = [s for s in sites if s not in failed]
        return found + self._tried(sites) if sites else found

    def _tried(self, sites: Sequence[Site]) -> list[SiteReport]:
        """The checks that edit: of sites that fire and leave no hooks."""
        seen = [s for s in sites if s.kind in EXPLICIT][:1]
        base = self.run([], len(sites), seen).logits
        same = self.run([_Row(s, i, lambda x: x) for i, s in enumerate(sites)], len(sites)).logits
        noisy = self.run([_Row(s, i, self._noise) for i, s in enumerate(sites)], len(sites)).logits
        written = [_Row(s, i, self._writer(s)) for i, s in enumerate(sites)]
        fused = self.run(written, len(sites)).logits
        explicit = [s for s in self.a if s.kind in EXPLICIT][:1]
        edited = self.run(written, len(sites), self._watched(sites) + explicit)
        lawful = self._lawful(sites, edited)
        found = []
        for i, site in enumerate(sites):
            passed = {
                "moves": not torch.equal(noisy[i], base[i]),
                "identity": torch.equal(same[i], base[i]),
                "law": lawful[i],
                "paths": _close(fused[i], edited.logits[i]),
                "names": self._names_raise(site),
            }
            found.append(SiteReport(site, tuple(name for name, ok in passed.items() if not ok)))
        return found

    def run(self, edits: Sequence[_Row], rows: int, read: Sequence[Site] = ()) -> Run:
        """Prompt a in every row, each row with its own edit."""
        tokens = self.prompts[0].expand(rows, -1)
        return self.model.run(tokens, read, do=edits, identity=True, rows_at_once=rows)

    def _noise(self, x: Tensor) -> Tensor:
        return x + 0.5 * torch.randn(x.shape, generator=self.rng).to(x)

    def _names_raise(self, site: Site) -> bool:
        wrong = [f"{site}x"]
        if site.layer is not None:
            layers = 1 + max(s.layer for s in self.model.sites if s.layer is not None)
            wrong.append(str(replace(site, layer=layers)))
        for name in wrong:
            try:
                self.model.run(self.prompts[0], name)
            except BadSite:
                continue
            return False
        return True

    def _leaves_nothing(self, site: Site) -> bool:
        """Whether a run that edits ``site``, and one whose edit raises, take their hooks along."""
        if site.head is not None:
            return True  # the heads share the hook of the whole
        before = self.hooks
        for change in (lambda x: x, _StopOnce()):
            with suppress(_StopError):
                self.run([_Row(site, 0, change)], 1)
            self.hooks = hooks_in(self.model.body)
            if self.hooks != before:
                return False
        return True

    # What to write, and what must come of it ------------------------------------------------

    def _sum(self, acts: dict[Site, Tensor], layer: int | None) -> Tensor:
        """The stream between attention and MLP, from the parts."""
        return acts[Site("resid_pre", layer)] + acts[Site("attn_out", layer)]

    def _writer(self, site: Site) -> Callable[[Tensor], Tensor]:
        """What to write at ``site``: b's values, made whole where the cut has other parts."""
        a, b, layer = self.a, self.b, site.layer
        start, value = Site("resid_pre", 0), b[site]
        if site.kind == "embed":
            value = b[start] - (a[start] - a[site])
        elif site.kind == "pos_embed":
            value = b[start] - a[Site("embed")]
        elif site.kind == "attn_out":
            value = self._sum(b, layer) - a[Site("resid_pre", layer)]
        elif site.kind == "mlp_out":
            value = b[Site("resid_post", layer)] - self._sum(a, layer)
        return lambda x: value

    def _watched(self, sites: Sequence[Site]) -> list[Site]:
        """What the laws of these sites read in the edited run."""
        following = {
            "q": "attn_scores",
            "k": "attn_scores",
            "v": "z",
            "attn_scores": "pattern",
            "pattern": "z",
            "z": "attn_out",
            "pre": "post",
            "post": "mlp_out",
        }
        inner = [s for s in sites if s.kind in following and s.head is None]
        watched = [Site(following[s.kind], s.layer) for s in inner]
        return list(dict.fromkeys(watched + [Site("resid_post", s.layer) for s in inner]))

    def _lawful(self, sites: Sequence[Site], edited: Run) -> list[bool]:
        """Whether each row of the edited run is what the law of its site foretells."""
        known = [site.cut or site.kind in _ADDED for site in sites]
        others = [
            self._other(site, row, edited) for row, site in enumerate(sites) if not known[row]
        ]
        twin = self.run(others, len(sites)).logits if others else edited.logits
        return [
            _close(edited.logits[row], self.logits[1] if known[row] else twin[row])
            and (known[row] or site.head is not None or self._foretold(site, row, edited))
            for row, site in enumerate(sites)
        ]

    def _other(self, site: Site, row: int, edited: Run) -> _Row:
        """A write elsewhere that must give the same logits as b's values at ``site``."""
        if site.head is None:
            post = Site("resid_post", site.layer)
            return _Row(post, row, lambda x: edited.acts[post][row])
        value, width = self.b[site], self.b[site].shape[-1]
        units = slice(site.head * width, (site.head + 1) * width)

        def change(x: Tensor) -> Tensor:
            x = x.clone()
            x[:, units] = value
            return x

        return _Row(replace(site, head=None), row, change)

    def _foretold(self, site: Site, row: int, edited: Run) -> bool:
        """Whether the next site of the edited run reads what follows from b's values here."""
        a, b, layer = self.a, self.b, site.layer
        v, pattern, z = (Site(kind, layer) for kind in ("v", "pattern", "z"))
        heads = (self.heads["z"], self.heads["v"])
        following = self._watched([site])[0]
        found = edited.acts[following][row]
        if site.kind in ("q", "k"):
            return self._scores_of_a_mixture(site, found)
        if site.kind == "v":
            return _close(found, _mixed(a[pattern], b[v], *heads))
        if site.kind == "pattern":
            return _close(found, _mixed(b[pattern], a[v], *heads))
        if site.kind == "attn_scores":
            return _close(found, b[site].unflatten(-1, (heads[0], -1)).softmax(-1).flatten(1))
        return _close(found, b[following]) or (site.kind == "pre" and self._gated(site, found))

    def _scores_of_a_mixture(self, site: Site, found: Tensor) -> bool:
        """Scores ``[query, head * key]`` where query and key come from different prompts."""
        stream, scores = Site("resid_pre", site.layer), Site("attn_scores", site.layer)
        from_b = torch.arange(len(found), device=found.device) % 2 == 1
        mixture = torch.where(from_b[:, None], self.b[stream], self.a[stream])
        wanted = self.run([_Row(stream, 0, lambda x: mixture)], 1, [scores]).acts[scores][0]
        found, wanted = (x.unflatten(-1, (self.heads["z"], -1)) for x in (found, wanted))
        queries, keys = (from_b, ~from_b) if site.kind == "q" else (~from_b, from_b)
        return _close(found[queries][:, :, keys], wanted[queries][:, :, keys])

    def _gated(self, site: Site, found: Tensor) -> bool:
        """``act(pre) * gate``: swapping ``pre`` between the prompts swaps only the first factor."""
        post = Site("post", site.layer)
        swap = _Row(site, 0, lambda x: self.a[site])
        run = self.model.run(self.prompts[1], [post], do=[swap], identity=True)
        a, b = self.a[post], self.b[post]
        return _close(found * run.acts[post][0], a * b) and bool((found != a).all())
