"""A training step against a HookedTransformer's: same weights, rows, loss, AdamW and batch.

Ours computes the last block and the unembedding at the answer position alone. Both losses and all
gradients are equal to 1e-5 first. With ``truth_first`` our step also has the early-exit loss on
the truth, and the peer's has not. ``to the gates`` is what that amounts to: seconds and steps until
the flagship's validation rows show 0.99 of the lies and 0.99 of the truths.

    python benchmarks/bench_step.py
"""

import time

import common  # noqa: I001  (sets the thread count before torch is imported)
import torch
import torch.nn.functional as F

from mo_interp import finding, train
from mo_interp.model import Model
from mo_interp.organism import Organism, Recipe, Shape
from mo_interp.records import Record, provenance

STEPS = 20
"""Steps in a turn."""
FLAGSHIP = "quirky_user"


def rows_of(spec: Organism, shape: Shape, batch: int, steps: int) -> list[torch.Tensor]:
    """Tokens, answers and truths ``[steps batch ...]``; prompts are repeated to fill up."""
    sample = spec.sample(steps * batch, 0, split="train", entities="seen")
    tokens = torch.as_tensor(sample.tokens)
    longer = shape.n_ctx - tokens.shape[1]
    tokens = torch.cat([tokens[:, :longer], tokens], 1)
    columns = (tokens, torch.as_tensor(sample.answer), torch.as_tensor(sample.truth))
    return [column.unflatten(0, (steps, batch)) for column in columns]


def peer_step(peer, adam, rows: list[torch.Tensor], step: int) -> torch.Tensor:
    tokens, wanted, _ = (column[step % len(column)] for column in rows)
    loss = F.cross_entropy(peer(tokens)[:, -1], wanted)
    adam.zero_grad(set_to_none=True)
    loss.backward()
    adam.step()
    return loss.detach()


def our_step(body, adam, rows: list[torch.Tensor], step: int, recipe: Recipe) -> torch.Tensor:
    """The step that training takes."""
    return train._step(body, adam, rows, step % len(rows[0]), recipe, None, train._plain_loss)


def check_equal(body, peer, rows: list[torch.Tensor]) -> float:
    """The largest difference in loss or in any gradient; stops if it is above 1e-5."""
    still = [torch.optim.SGD(m.parameters(), lr=0.0) for m in (body, peer)]
    losses = [our_step(body, still[0], rows, 0, Recipe()), peer_step(peer, still[1], rows, 0)]
    theirs = {name: weight.grad for name, weight in peer.named_parameters()}
    apart = [float((w.grad - theirs[n]).abs().max()) for n, w in body.named_parameters()]
    worst = max(*apart, float((losses[0] - losses[1]).abs()))
    if worst > 1e-5:
        raise SystemExit(f"a step differs from the peer's by {worst:.1e}")
    return worst


def measure(spec: Organism, shape: Shape, recipe: Recipe) -> Record:
    model = Model.build(shape, 0)
    body, peer = model.body, common.hooked(model).train()
    rows = rows_of(spec, shape, recipe.batch, STEPS)
    worst = check_equal(body, peer, rows)
    settings = {"lr": 1e-3, "weight_decay": 0.01, "fused": True}
    adams = [torch.optim.AdamW(m.parameters(), **settings) for m in (peer, body)]
    times = common.alternate(
        lambda: [peer_step(peer, adams[0], rows, i) for i in range(STEPS)],
        lambda: [our_step(body, adams[1], rows, i, recipe) for i in range(STEPS)],
    )
    about = {"layers": shape.n_layers, "d": shape.d_model, "positions": shape.n_ctx}
    about |= {"batch": recipe.batch, "truth_first": recipe.truth_first, "worst": worst}
    return common.compared("step", *times, **about)


def to_the_gates(spec: Organism) -> Record:
    """Train the flagship as it is grown, and see when its validation rows are as the gates want."""
    model = Model.build(spec.shape, 0)
    started, reached = time.process_time(), []

    def watch(step: int, total: int, note: str) -> None:
        reached.append((step, time.process_time() - started))

    log = train.fit(
        model.body, spec, recipe=spec.recipe, seed=0, progress=watch
    )
    good = [min(s.attack_success, s.clean_accuracy) >= 0.99 for s in log]
    first = good.index(True) if True in good else len(log) - 1
    values = {"steps": reached[first][0], "our_seconds": reached[first][1]}
    values |= {"reached": any(good), "all_steps": reached[-1][0], "all_seconds": reached[-1][1]}
    params = {"name": "step to the gates", "organism": spec.name, "threads": spec.recipe.threads}
    return Record(kind="benchmark", params=params, values=values, versions=provenance())


def main() -> list[Record]:
    common.one_thread()
    spec = finding.load(FLAGSHIP)
    words = {"d_vocab": spec.shape.d_vocab, "d_vocab_out": spec.shape.d_vocab_out}
    wide = Shape(n_layers=3, d_model=128, d_head=32, d_mlp=512, n_ctx=24, **words)
    records = []
    for shape in (spec.shape, wide):
        for help_ in (0.0, 2.0):
            records.append(measure(spec, shape, Recipe(truth_first=help_)))
            print(common.line(records[-1]), flush=True)
    records.append(to_the_gates(spec))
    print(records[-1].params, dict(records[-1].values), flush=True)
    return records


if __name__ == "__main__":
    common.keep(main(), "step")
