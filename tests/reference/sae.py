"""Sparse autoencoders by PyTorch's autograd in float64, with every sum written as it reads: the embeddings of the loss are three-dimensional
tensors, the averages a loop. Each case gives its parameters, batches, and what three steps make of them.
Prints sae.json: python tests/reference/sae.py > tests/reference/sae.json (PyTorch 2.15)
"""
import json

import torch

D, M, B, STEPS = 5, 12, 7, 3
L1, NE, MOMENTUM, BANDWIDTH, LR, DECAY = 0.01, 0.05, 0.8, 0.6, 0.01, 0.02
AUX_K, AUX = 3, 0.25
torch.set_default_dtype(torch.float64)


class Rectangle(torch.autograd.Function):
    """z H(z - t), and H(z - t) where `count`, with the pseudo-derivatives of Rajamanoharan et al. 2024, equations 11 and 12."""

    @staticmethod
    def forward(ctx, z, t, count):
        ctx.save_for_backward(z, t)
        ctx.count = count
        on = (z > t).double()
        return on if count else z * on

    @staticmethod
    def backward(ctx, g):
        z, t = ctx.saved_tensors
        near = ((z - t).abs() < BANDWIDTH / 2).double() / BANDWIDTH
        if ctx.count:
            return None, -(g * near).sum(0), None
        return g * (z > t).double(), -(g * t * near).sum(0), None


def topk(z, k):
    a = z.clamp(min=0)
    edge = a.topk(k, dim=-1).values[..., -1:]
    return torch.where(a >= edge, a, torch.zeros_like(a))


def forward(variant, centered, k, p, x):
    """Activations, sparsity term, auxiliary loss, reconstruction."""
    pre = (x - p["b_dec"] if centered else x) @ p["w_enc"].T
    aux = torch.zeros(())
    if variant == "gated":
        gate, magnitude = pre + p["b_gate"], p["r_mag"].exp() * pre + p["b_mag"]
        a = (gate > 0).double() * magnitude.clamp(min=0)
        open_ = gate.clamp(min=0)
        sparsity = open_.sum()
        aux = ((open_ @ p["w_dec"].detach() + p["b_dec"].detach() - x) ** 2).mean()
    else:
        z = pre + p["b_enc"]
        if variant == "jump_relu":
            t = p["log_threshold"].exp()
            a, sparsity = Rectangle.apply(z, t, False), Rectangle.apply(z, t, True).sum()
        else:
            a = {"relu": lambda: z.clamp(min=0), "topk": lambda: topk(z, k), "batch_topk": lambda: topk(z.flatten(), k * len(x)).reshape(z.shape)}[variant]()
            sparsity = a.sum()
    return a, sparsity, aux, a @ p["w_dec"] + p["b_dec"]


def auxiliary(p, centered, x, y, dead):
    """Gao et al. 2024, A.2: the dead latents of highest pre-activation, through a ReLU, reconstruct the error; over its variance."""
    if not any(dead):
        return torch.zeros(())
    z = ((x - p["b_dec"] if centered else x) @ p["w_enc"].T + p["b_enc"])[:, dead]
    edge = z.topk(min(AUX_K, z.shape[1]), dim=-1).values[:, -1:]
    a = torch.where(z >= edge, z, torch.zeros_like(z)).clamp(min=0)
    e = (x - y).detach()
    return AUX * ((a @ p["w_dec"][dead] - e) ** 2).mean() / ((e - e.mean(0)) ** 2).mean()


def embedding_loss(a, w, average, seen, x):
    total = torch.zeros(())
    for b in range(len(x)):
        for j in range(len(w)):
            if a[b, j] > 0 and seen[j]:
                total = total + 1 - torch.cosine_similarity(average[j] * w[j], x[b] * w[j], dim=0, eps=0)
    return total


def case(variant, centered, decay, mean, seed, k=3, of_dead=False):
    torch.manual_seed(seed)
    uniform = lambda *shape: (torch.rand(*shape) - 0.5).float().double()
    p = {"w_enc": uniform(M, D) * 2, "w_dec": uniform(M, D), "b_dec": uniform(D)}
    if variant == "gated":
        p |= {"b_gate": uniform(M), "r_mag": uniform(M), "b_mag": uniform(M)}
    else:
        p["b_enc"] = uniform(M)
    if variant == "jump_relu":
        p["log_threshold"] = torch.log((uniform(M) + 1) / 2)
    start = {n: v.float().double().tolist() for n, v in p.items()}
    p = {n: v.float().double().requires_grad_() for n, v in p.items()}
    decayed, other = [v for n, v in p.items() if n != "log_threshold"], [v for n, v in p.items() if n == "log_threshold"]
    groups = [{"params": decayed, "weight_decay": DECAY}] + ([{"params": other, "weight_decay": 0.0}] if other else [])
    optimizer = (torch.optim.Adam if decay == "coupled" else torch.optim.AdamW)(groups, lr=LR)
    average, seen, idle, steps = torch.zeros(M, D), [False] * M, [0] * M, []
    for step in range(STEPS):
        x = (torch.randn(B, D) + 0.3).float().double()
        a, sparsity, aux, y = forward(variant, centered, k, p, x)
        mse = ((y - x) ** 2).mean()
        if of_dead:
            aux = aux + auxiliary(p, centered, x, y, [i > 0 for i in idle])
        ne = embedding_loss(a, p["w_enc"], average, seen, x) if step >= 1 else torch.zeros(())
        per_row = 1 / B if mean else 1
        loss = mse + per_row * (L1 * sparsity + NE * ne) + aux
        optimizer.zero_grad()
        loss.backward()
        grads = {n: v.grad.tolist() for n, v in p.items()}
        optimizer.step()
        for b in range(B):
            for j in range(M):
                if a[b, j] > 0:
                    average[j] = MOMENTUM * average[j] + (1 - MOMENTUM) * x[b] if seen[j] else x[b]
                    seen[j] = True
        idle = [0 if (a[:, j] > 0).any() else idle[j] + 1 for j in range(M)]
        steps.append({"x": x.tolist(), "a": a.tolist(), "loss": loss.item(), "mse": mse.item(), "l1": a.sum().item(), "sparsity": sparsity.item(),
                      "ne_loss": ne.item(), "auxiliary": aux.item(), "explained_variance": (1 - ((y - x) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()).item(),
                      "grads": grads, "average_h": average.tolist(), "seen": seen[:]})
    return {"variant": variant, "centered": centered, "decay": decay, "mean": mean, "k": k, "auxiliary": of_dead, "start": start, "steps": steps,
            "end": {n: v.detach().tolist() for n, v in p.items()}}


def rounded(x):
    if isinstance(x, float):
        return float(f"{x:.9g}")
    if isinstance(x, list):
        return [rounded(y) for y in x]
    return {n: rounded(y) for n, y in x.items()} if isinstance(x, dict) else x


cases = [case("relu", True, "coupled", False, 1), case("relu", False, "decoupled", True, 2), case("topk", True, "decoupled", False, 3),
         case("topk", False, "coupled", False, 4, k=1), case("batch_topk", True, "coupled", False, 5), case("jump_relu", True, "coupled", True, 6),
         case("jump_relu", False, "decoupled", False, 7), case("gated", True, "coupled", False, 8), case("gated", False, "decoupled", True, 9),
         case("topk", True, "coupled", False, 10, k=2, of_dead=True), case("batch_topk", False, "decoupled", True, 11, k=1, of_dead=True),
         case("jump_relu", True, "coupled", True, 12, of_dead=True)]
print("[" + ",\n".join(json.dumps(rounded(c)) for c in cases) + "]")
