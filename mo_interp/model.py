"""The one door for hooks: ``Model.run(tokens, read=, do=) -> Run``.

1. Sites are parsed and checked against what the body's audit proved; an unknown one raises.
2. One function per hook point applies the edits in order, then reads; reads see edits.
3. Hooks are taken off in ``finally``; nothing outlives a run.
4. An edit that never fired, or changed no row, raises :class:`DeadEdit` unless the call says
   ``identity=True``. A patched-in NaN raises too.

Positions are an integer or a role such as ``@trigger``, resolved row by row from the batch.

Replies of several tokens: :meth:`Model.generate` and :meth:`Model.gives`. An edit at the prompt's
last position (``@-1``, ``@answer``) applies there and at every generated position, with the same
source row; an edit at every position treats each generated one as it treats the prompt's last; an
edit anywhere else in the prompt stays where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mo_interp.errors import BadShape, BadSite, BadValues, DeadEdit, SpecError
from mo_interp.organism import Shape
from mo_interp.sites import Site, SiteSet
from mo_interp.store import read_json, write_json
from mo_interp.transformer import Transformer, initialise
from mo_interp.worlds.base import Batch

EXPLICIT = ("pattern", "attn_scores")
ROWS_AT_ONCE = 256


class Edit(Protocol):
    """Something done to the activations of one site. See :mod:`mo_interp.edits`."""

    @property
    def site(self) -> Site:
        """Where it edits; a plain field will do."""
        ...

    def __call__(self, x: Tensor, rows: slice) -> Tensor:
        """New values of ``x [batch (pos) d]``, which are the rows ``rows`` of the call."""
        ...


@dataclass(frozen=True, eq=False)
class Run:
    """What came out of one call of the door."""

    logits: Tensor
    """``[batch pos vocab]``; one position where only the answer was computed."""
    acts: Mapping[Site, Tensor] = field(default_factory=dict)
    """Site to activations ``[batch (pos) d]``; also found by the site's printed name."""

    @property
    def output(self) -> np.ndarray:
        """Most likely token ``[batch]`` at the answer position."""
        return self.logits[:, -1].argmax(-1).cpu().numpy()


class Acts(dict):
    """Activations by :class:`Site`, also by name."""

    def __missing__(self, name: object) -> Tensor:
        """Parse a printed name; raises :class:`BadSite` for what was not read."""
        site = Site.parse(name) if isinstance(name, str) else name
        if site in self.keys():
            return self[site]
        raise BadSite(f"site '{name}' was not read; read: {', '.join(map(str, self))}")


@dataclass
class _Applied:
    """Book-keeping of law 1 for one edit."""

    edit: Edit
    fired: bool = False
    changed: bool = False


class Model:
    """A body behind the door. Offers only the sites its audit proved."""

    def __init__(self, body: torch.nn.Module, sites: SiteSet, shape: Shape | None = None) -> None:
        """Wrap a built body; use :meth:`build`, :meth:`load` or :mod:`mo_interp.bridge`."""
        self.body: Any = body.eval()
        self.sites, self.shape = sites, shape

    @classmethod
    def build(cls, shape: Shape, seed: int = 0) -> Model:
        """A freshly initialised small transformer."""
        body = Transformer(shape)
        initialise(body, seed)
        return cls(body, SiteSet.of(shape), shape)

    @classmethod
    def load(cls, folder: str | Path) -> Model:
        """The model saved in a folder: ``shape.json`` and ``model.safetensors``."""
        folder = Path(folder)
        model = cls.build(Shape(**read_json(folder / "shape.json")))
        weights = load_file(folder / "model.safetensors")
        wanted = model.body.state_dict()
        if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in wanted.items()}:
            raise BadShape(f"{folder.name}/model.safetensors does not fit its shape.json")
        model.body.load_state_dict(weights)
        return model

    def save(self, folder: str | Path) -> None:
        """Write ``shape.json`` and ``model.safetensors``."""
        if self.shape is None:
            raise SpecError("a bridged model is saved by the library it came from")
        write_json(Path(folder) / "shape.json", asdict(self.shape))
        weights = {k: v.contiguous() for k, v in self.body.state_dict().items()}
        save_file(weights, Path(folder) / "model.safetensors")

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.body.parameters()).device

    def to(self, device: str) -> Model:
        """This model, moved."""
        self.body.to(device)
        return self

    # The door -------------------------------------------------------------------------------

    def run(
        self,
        tokens: Batch | np.ndarray | Tensor | None,
        read: str | Site | Iterable[str | Site] = (),
        *,
        do: Iterable[Edit] = (),
        start: tuple[int, Tensor] | None = None,
        identity: bool | Literal["some"] = False,
        answer_only: bool = False,
        grad: bool = False,
        rows_at_once: int = ROWS_AT_ONCE,
    ) -> Run:
        """Run tokens through the body, reading and editing on the way.

        Args:
            tokens: ids ``[batch pos]``, or a :class:`Batch` where sites use roles.
            read: sites or globs, e.g. ``"L*.resid_post@-1"``.
            do: edits, applied in order at each site.
            start: ``(layer, resid [batch pos d])``: enter before that block.
            identity: the edits are meant to change nothing; do not raise if they do not. With
                ``"some"`` it is enough that one of them changes a row: of parts that are cut
                together, an upstream one may leave a downstream one nothing to do.
            answer_only: compute the last block at the last position alone.
            grad: keep the graph.
            rows_at_once: rows of one forward pass; a setting of memory, not of results.

        Raises:
            BadSite: a site or role this model or batch does not have.
            DeadEdit: an edit that did not fire or changed no row.
            BadShape: tokens that do not fit the body, or a start= that does not fit them.
            BadValues: an edit that wrote a NaN or an infinity, or tokens outside the vocabulary.
        """
        batch, ids = self._tokens(tokens)
        entered = ids if start is None else start[1]
        if entered is None or (ids is not None and len(ids) != len(entered)):
            raise BadShape("run needs tokens [batch pos], or start=(layer, resid) of as many rows")
        n, n_pos = entered.shape[:2]
        sites = self._reads(read)
        applied = [_Applied(edit) for edit in do]
        for one in applied:
            self.sites.check(one.edit.site)
        explicit = any(s.kind in EXPLICIT for s in [*sites, *(a.edit.site for a in applied)])
        chunks: list[tuple[Tensor, dict[Site, Tensor]]] = []
        for first in range(0, n, rows_at_once):
            rows = slice(first, min(first + rows_at_once, n))
            call = _Call(batch, rows, sites, applied, n_pos)
            options = {"answer_only": answer_only, "explicit": explicit}
            with torch.set_grad_enabled(grad), _held(call.hooks(self.body.hook_dict)):
                chunks.append((self._forward(ids, rows, start, options), call.found))
        if identity is False or (identity == "some" and not any(a.changed for a in applied)):
            _no_dead_edits([a for a in applied if not getattr(a.edit, "beyond", False)])
        return Run(_join([c[0] for c in chunks]), self._gather(sites, [c[1] for c in chunks]))

    def read(self, tokens: Batch | np.ndarray | Tensor, site: str | Site) -> Tensor:
        """Activations ``[batch (pos) d]`` of one site, unedited; raises as :meth:`run` does."""
        site = Site.parse(site)
        return self.run(tokens, read=[site]).acts[site]

    def answers(self, tokens: Batch | np.ndarray | Tensor) -> np.ndarray:
        """Most likely token ``[batch]`` at the last position, as cheaply as it can be had."""
        return self.run(tokens, answer_only=self.shape is not None).output

    def generate(
        self,
        prompts: Batch | np.ndarray | Tensor,
        n: int,
        *,
        do: Iterable[Edit] = (),
        identity: bool | Literal["some"] = False,
    ) -> np.ndarray:
        """Greedy continuation of prompts: tokens ``[batch n]``.

        Edits apply at every generated position, as the module's docstring says; whether one is
        dead is judged at the first token. Raises as :meth:`run` does, and :class:`BadSite` for an
        edit of a pattern or of scores, whose sources have the prompt's length.
        """
        _, ids = self._tokens(prompts)
        assert ids is not None
        edits, found = list(do), np.empty((len(ids), 0), dtype=np.int64)
        only = not edits and self.shape is not None
        for i in range(n):
            text, placed = _followed(prompts, found, edits)
            alive = identity if i == 0 else True
            said = self.run(text, do=placed, identity=alive, answer_only=only).output
            found = np.column_stack([found, said])
        return found

    def gives(
        self,
        prompts: Batch | np.ndarray | Tensor,
        reply: np.ndarray,
        *,
        do: Iterable[Edit] = (),
        identity: bool | Literal["some"] = False,
    ) -> np.ndarray:
        """Whether ``[batch]`` :meth:`generate` would say exactly ``reply [batch n]``.

        One run over prompt and reply: a greedy reply is this one if and only if every word of it is
        the most likely one after those before it.
        """
        n, edits = reply.shape[1], list(do)
        if not edits and len(reply) > ROWS_AT_ONCE:  # all logits of a long text are gigabytes
            batch = prompts if isinstance(prompts, Batch) else np.asarray(prompts)
            parts = [slice(i, i + ROWS_AT_ONCE) for i in range(0, len(reply), ROWS_AT_ONCE)]
            return np.concatenate([self.gives(batch[rows], reply[rows]) for rows in parts])
        text, placed = _followed(prompts, reply[:, :-1], edits)
        only = n == 1 and not edits and self.shape is not None
        run = self.run(text, do=placed, identity=identity, answer_only=only)
        logits = run.logits[:, -n:]
        return (logits.argmax(-1).cpu().numpy() == reply).all(1)

    def _forward(self, ids: Tensor | None, rows: slice, start, options: dict) -> Tensor:
        if self.shape is None:
            if start is not None or options["answer_only"]:
                raise SpecError("start= and answer_only= need a body of our own, not a bridged one")
            assert ids is not None
            return self.body(ids[rows], return_type="logits")
        begin = None if start is None else (start[0], start[1][rows])
        return self.body(None if ids is None else ids[rows], start=begin, **options)

    def _tokens(self, tokens: Batch | np.ndarray | Tensor | None):
        batch = tokens if isinstance(tokens, Batch) else None
        ids = batch.tokens if batch is not None else tokens
        if ids is None:
            return None, None
        ids = torch.as_tensor(ids, device=self.device)
        if ids.ndim != 2 or not len(ids):
            raise BadShape(f"tokens need [batch pos] with a row or more, got {list(ids.shape)}")
        shape = self.shape or self.body.cfg
        low, high = int(ids.min()), int(ids.max())
        if ids.shape[1] > shape.n_ctx:
            raise BadShape(f"tokens have {ids.shape[1]} positions; n_ctx is {shape.n_ctx}")
        if low < 0 or high >= shape.d_vocab:
            raise BadValues(f"tokens lie in {low}-{high}; this model has 0-{shape.d_vocab - 1}")
        return batch, ids

    def _reads(self, read: str | Site | Iterable[str | Site]) -> tuple[Site, ...]:
        wanted = [read] if isinstance(read, str | Site) else list(read)
        found: list[Site] = []
        for one in wanted:
            if isinstance(one, Site):
                self.sites.check(one)
            found += [one] if isinstance(one, Site) else self.sites.match(one)
        return tuple(dict.fromkeys(found))

    def _gather(self, sites: Sequence[Site], parts: list[dict[Site, Tensor]]) -> Acts:
        lost = [str(s) for s in sites if s not in parts[0]]
        if lost:
            raise BadSite(f"{', '.join(lost)}: not reached in this run (start= skips it)")
        return Acts({site: _join([p[site] for p in parts]) for site in sites})


class _Call:
    """One forward pass: which hook does what to which rows."""

    def __init__(self, batch: Batch | None, rows: slice, sites, applied, n_pos: int) -> None:
        self.batch, self.rows, self.n_pos = batch, rows, n_pos
        self.sites, self.applied = sites, applied
        self.found: dict[Site, Tensor] = {}

    def hooks(self, points: Mapping[str, Any]) -> list[tuple[Any, Callable]]:
        """(hook point, function) for every hook point that is read or written."""
        wanted = [a.edit.site for a in self.applied] + list(self.sites)
        names = dict.fromkeys(site.hook_name for site in wanted)
        return [(points[name], self._at(name)) for name in names]

    def _at(self, name: str) -> Callable:
        edits = [a for a in self.applied if a.edit.site.hook_name == name]
        reads = [s for s in self.sites if s.hook_name == name]

        def hook(x: Tensor, hook: object = None) -> Tensor:
            for one in edits:
                x = self._edit(x, one)
            for site in reads:
                self.found[site] = self._view(x, site).get()
            return x

        return hook

    def _edit(self, x: Tensor, one: _Applied) -> Tensor:
        view = self._view(x, one.edit.site)
        old = view.get()
        version = old._version
        new = one.edit(old, self.rows)
        if old._version != version:  # edited in place
            old = view.get()
        if new.shape != old.shape:
            sizes = f"{list(new.shape)} for {list(old.shape)}"
            raise BadShape(f"edit at '{one.edit.site}' gave {sizes}")
        if not (torch.isfinite(new) | (new == old)).all():  # scores ahead of a query are -inf
            raise BadValues(f"edit at '{one.edit.site}' wrote a NaN or an infinity")
        one.fired = True
        one.changed = one.changed or bool((new != old).any())
        return view.put(new)

    def _view(self, x: Tensor, site: Site) -> _View:
        return _View(x, site, self._positions(x, site))

    def _positions(self, x: Tensor, site: Site) -> Tensor | int | None:
        """None for all, an integer, or row by row ``[batch k]`` (``[batch]`` for one)."""
        length = x.shape[2] if site.kind in EXPLICIT else x.shape[1]
        at = site.position
        if at is None:
            return None
        if isinstance(at, int):
            if not -self.n_pos <= at < self.n_pos:
                raise BadSite(f"site '{site}': this run has positions 0-{self.n_pos - 1}")
            if length == self.n_pos:
                return at
            if at % self.n_pos != self.n_pos - 1:
                raise BadSite(f"site '{site}': answer_only computes only the last position there")
            return 0
        if self.batch is None:
            raise BadSite(f"site '{site}' names a role; run the Batch, not its tokens")
        name, _, index = at.partition("[")
        places = self.batch.role(name)
        if index and int(index[:-1]) >= places.shape[1]:
            raise BadSite(f"site '{site}': the role has {places.shape[1]} positions")
        places = places[:, int(index[:-1])] if index else places
        places = places[:, 0] if places.ndim == 2 and places.shape[1] == 1 else places
        if (places < 0).any():
            lacking = int((places < 0).any(tuple(range(1, places.ndim))).sum())
            raise BadSite(f"site '{site}': {lacking} of {len(places)} rows have no such role")
        if length < self.n_pos:
            places = np.where(places == self.n_pos - 1, 0, length)
        if (places >= length).any():
            raise BadSite(f"site '{site}' lies outside what this run computed")
        return torch.as_tensor(places[self.rows], device=x.device)


@dataclass(frozen=True)
class _View:
    """The part of a hook's tensor that a site names: can be got, and put back."""

    x: Tensor
    site: Site
    at: Tensor | int | None

    def _head_axis(self) -> int | None:
        if self.site.kind in EXPLICIT:
            return 1
        return 2 if self.site.kind in ("q", "k", "v", "z") else None

    def _rows_first(self, x: Tensor) -> Tensor:
        """Hook tensor as ``[batch pos width]``, a view wherever torch allows one."""
        axis = self._head_axis()
        if axis is None:
            return x
        if self.site.head is not None:
            return x.select(axis, self.site.head)
        return x.flatten(2) if axis == 2 else x.transpose(1, 2).flatten(2)

    def get(self) -> Tensor:
        """The site's values ``[batch (pos) d]``."""
        x = self._rows_first(self.x)
        if self.site.units is not None:
            x = x[..., self.site.units[0] : self.site.units[1]]
        if self.at is None:
            return x.clone()
        if isinstance(self.at, int):
            return x[:, self.at].clone()
        rows = torch.arange(len(x), device=x.device)
        return x[rows[:, None], self.at] if self.at.ndim == 2 else x[rows, self.at]

    def put(self, new: Tensor) -> Tensor:
        """A copy of the hook's tensor, of the same strides, with the site's values replaced."""
        whole = self.x.clone()
        axis = self._head_axis()
        if axis is not None and self.site.head is None:
            flat = self._rows_first(whole).clone()
            self._write(flat, new)
            apart = whole if axis == 2 else whole.transpose(1, 2)
            apart.copy_(flat.reshape(apart.shape))
            return whole
        self._write(self._rows_first(whole), new)
        return whole

    def _write(self, x: Tensor, new: Tensor) -> None:
        units = slice(*self.site.units) if self.site.units is not None else slice(None)
        if self.at is None:
            x[..., units] = new
        elif isinstance(self.at, int):
            x[:, self.at, units] = new
        else:
            rows = torch.arange(len(x), device=x.device)
            rows = rows[:, None] if self.at.ndim == 2 else rows
            part = x[rows, self.at]
            part[..., units] = new
            x[rows, self.at] = part


# Replies of several tokens -------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Moved:
    """An edit at another position: same function, same rows."""

    edit: Edit
    site: Site
    beyond: bool
    """Whether that is a generated position; there it may change nothing."""

    def __call__(self, x: Tensor, rows: slice) -> Tensor:
        return self.edit(x, rows)


@dataclass(frozen=True, eq=False)
class _Everywhere:
    """An edit of all ``size`` positions of a prompt; a generated one is treated as the last."""

    edit: Edit
    size: int

    @property
    def site(self) -> Site:
        return self.edit.site

    def __call__(self, x: Tensor, rows: slice) -> Tensor:
        prompt, last = x[:, : self.size], self.size - 1
        parts = [self.edit(prompt.clone(), rows)]
        for at in range(self.size, x.shape[1]):
            again = torch.cat([x[:, :last], x[:, at : at + 1]], dim=1)
            parts.append(self.edit(again, rows)[:, -1:])
        return torch.cat(parts, dim=1)


def _followed(
    prompts: Batch | np.ndarray | Tensor, reply: np.ndarray, edits: Sequence[Edit]
) -> tuple[Batch | np.ndarray | Tensor, list[Edit]]:
    """Prompts with the words ``[batch n]`` of a reply after them, and the edits for that text."""
    batch = prompts if isinstance(prompts, Batch) else None
    tokens = np.asarray(torch.as_tensor(prompts if batch is None else batch.tokens).cpu())
    size, text = tokens.shape[1], np.column_stack([tokens, reply])
    placed = [one for edit in edits for one in _placed(edit, batch, size, reply.shape[1])]
    return text if batch is None else replace(batch, tokens=text), placed


def _placed(edit: Edit, batch: Batch | None, size: int, n: int) -> list[Edit]:
    """An edit of prompts of ``size`` tokens, for texts that are ``n`` longer."""
    site, at = edit.site, edit.site.position
    if site.kind in EXPLICIT:
        raise BadSite(f"site '{site}': generation cannot edit it, its sources are a prompt's size")
    if at is None:
        return [_Everywhere(edit, size)]
    if isinstance(at, int):
        if not -size <= at < size:
            raise BadSite(f"site '{site}': these prompts have positions 0-{size - 1}")
        first, last = at % size, at % size == size - 1
    else:
        name = at.partition("[")[0]
        first, last = at, batch is not None and bool((batch.role(name) == size - 1).all())
    more = [_Moved(edit, site.at(size + i), beyond=True) for i in range(n if last else 0)]
    return [_Moved(edit, site.at(first), beyond=False) if first != at else edit, *more]


@contextmanager
def _held(hooks: list[tuple[Any, Callable]]) -> Iterator[None]:
    """Hook functions in place for the duration of a run, and gone whatever happens."""
    try:
        for point, function in hooks:
            point.add_hook(function)
        yield
    finally:
        for point, _ in hooks:
            point.remove_hooks("fwd")


def _no_dead_edits(applied: list[_Applied]) -> None:
    for one in applied:
        site, kind = one.edit.site, type(one.edit).__name__
        if not one.fired:
            raise DeadEdit(f"{kind} at '{site}' never fired: the run does not pass that site")
        if not one.changed:
            raise DeadEdit(
                f"{kind} at '{site}' changed no row; if it is meant to, say identity=True"
            )


def _join(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
