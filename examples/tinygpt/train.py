"""A byte-level GPT, trained for a fixed time and scored once: `python train.py`. The one file that is edited."""

import json
import math
import os
import resource
import sys
import time
import warnings

START = time.perf_counter()  # before torch, whose import is most of the start-up
warnings.filterwarnings("ignore", message="Failed to initialize NumPy")  # said by torch; nothing here needs it

import torch
import torch.nn.functional as F
from prepare import MAX_SEQ_LEN, TIME_BUDGET, VOCAB_SIZE, evaluate_bpb, load_data
from torch import Tensor, nn

# --- Knobs ------------------------------------------------------------------------------------------------------------

DEPTH = 2  # blocks
WIDTH = 64  # channels of the residual stream
HEADS = 2  # attention heads
MLP_RATIO = 4  # hidden channels of the MLP, in widths
QK_GAIN = 1.0  # sharpness of attention
DROPOUT = 0.1  # on what each block adds to the stream
INIT_STD = 0.02  # of every weight
ROPE_BASE = 10000.0  # longest wavelength of the rotary positions
SEQ_LEN = 128  # bytes of context in training
BATCH_SIZE = 8  # sequences in a step
LR = 5e-4  # peak learning rate
LR_FLOOR = 0.1  # final learning rate, as a share of the peak
WARMUP = 0.1  # share of the time budget in which the rate rises
COOLDOWN = 0.2  # share of the time budget in which it falls
BETA1 = 0.9  # AdamW: memory of the gradient
BETA2 = 0.999  # AdamW: memory of its square
WEIGHT_DECAY = 0.1  # AdamW: on matrices only
GRAD_CLIP = 1.0  # longest gradient

LOG_EVERY = 0.5  # seconds between two lines of progress
SEED = int(os.environ.get("DAG_SEED") or 1337)
STEPS_FILE = os.environ.get("DAG_STEPS")  # step metrics go there, as JSON lines
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

# --- Model ------------------------------------------------------------------------------------------------------------


def norm(x: Tensor) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],))


def rotary_table(length: int, channels: int) -> Tensor:
    """Cosines and sines of each position's angles: [2, length, channels / 2]."""
    wavelengths = ROPE_BASE ** (torch.arange(0, channels, 2) / channels)
    angles = torch.arange(length)[:, None] / wavelengths
    return torch.stack([angles.cos(), angles.sin()])


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turns pairs of channels by an angle that grows with position, so attention sees distances. x: [B, H, T, C]."""
    cos, sin = table[:, : x.shape[2]].to(x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        q, k = rotate(norm(q), table), rotate(norm(k), table)
        y = F.scaled_dot_product_attention(QK_GAIN * q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(batch, length, WIDTH))


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(WIDTH, MLP_RATIO * WIDTH, bias=False)
        self.down = nn.Linear(MLP_RATIO * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention()
        self.mlp = MLP()

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        x = x + F.dropout(self.attention(norm(x), table), DROPOUT, self.training)
        return x + F.dropout(self.mlp(norm(x)), DROPOUT, self.training)


class GPT(nn.Module):
    """Logits [B, T, 256] of the next byte at each position of x [B, T]."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCAB_SIZE, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.head = nn.Linear(WIDTH, VOCAB_SIZE, bias=False)
        self.register_buffer("table", rotary_table(max(SEQ_LEN, MAX_SEQ_LEN), WIDTH // HEADS), persistent=False)
        for weight in self.parameters():
            nn.init.normal_(weight, std=INIT_STD)

    def forward(self, x: Tensor) -> Tensor:
        stream = self.embed(x)
        for block in self.blocks:
            stream = block(stream, self.table)
        return self.head(norm(stream))


# --- Optimizer --------------------------------------------------------------------------------------------------------


def build_optimizer(model: GPT) -> torch.optim.Optimizer:
    matrices = list(model.blocks.parameters())
    tables = [model.embed.weight, model.head.weight]  # one row a byte: decay would punish the rare ones
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": tables, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=LR, betas=(BETA1, BETA2))


def learning_rate(frac: float) -> float:
    """Rises, stays, falls; `frac` is the share of the time budget that is used."""
    if frac < WARMUP:
        return LR * max(frac / WARMUP, 0.01)
    left = min(1.0, (1 - frac) / COOLDOWN) if COOLDOWN > 0 else 1.0
    return LR * (LR_FLOOR + (1 - LR_FLOOR) * left)


# --- Training ---------------------------------------------------------------------------------------------------------


def random_batch(text: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Inputs and targets, each [BATCH_SIZE, SEQ_LEN], from random places of the text."""
    starts = torch.randint(len(text) - SEQ_LEN, (BATCH_SIZE, 1), generator=generator)
    window = text[starts + torch.arange(SEQ_LEN + 1)].long().to(DEVICE)
    return window[:, :-1], window[:, 1:]


def training_step(model: GPT, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> float:
    """The loss in nats a byte; reading it waits for the device, so the clock tells the truth."""
    with torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=DEVICE.type == "cuda"):
        logits = model(x)
    loss = F.cross_entropy(logits.float().reshape(-1, VOCAB_SIZE), y.reshape(-1))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), GRAD_CLIP)
    optimizer.step()
    return loss.item()


def log_progress(step: int, loss: float, frac: float) -> None:
    print(f"step {step:5d}  {100 * frac:5.1f} %  train loss {loss:.4f}", flush=True)
    if STEPS_FILE:
        with open(STEPS_FILE, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "train_loss": loss, "frac": frac}) + "\n")


def train(model: GPT, text: Tensor) -> tuple[int, float]:
    """Trains until the time budget is used; the number of steps and the seconds they took."""
    optimizer = build_optimizer(model)
    generator = torch.Generator().manual_seed(SEED)
    model.train()
    step, elapsed, next_log = 0, 0.0, 0.0
    began = time.perf_counter()
    while elapsed < TIME_BUDGET:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(elapsed / TIME_BUDGET)
        loss = training_step(model, optimizer, *random_batch(text, generator))
        step += 1
        elapsed = time.perf_counter() - began
        if not math.isfinite(loss):
            sys.exit(f"train.py: the loss is {loss} at step {step}; training diverged, so there is nothing to score")
        if elapsed >= next_log or elapsed >= TIME_BUDGET:
            log_progress(step, loss, min(elapsed / TIME_BUDGET, 1.0))
            next_log = elapsed + LOG_EVERY
    return step, elapsed


def peak_memory_mb() -> float:
    """Most memory held so far: the device's on CUDA, else the process's."""
    if DEVICE.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # macOS counts bytes, Linux KiB


def main() -> None:
    torch.manual_seed(SEED)
    text, _ = load_data()
    model = GPT().to(DEVICE)
    startup = time.perf_counter() - START
    steps, seconds = train(model, text)
    val_bpb = evaluate_bpb(model, DEVICE)
    if not math.isfinite(val_bpb):
        sys.exit(f"train.py: val_bpb is {val_bpb}; the trained model gives no usable prediction")

    print("---")
    print(f"val_bpb: {val_bpb:.6f}")
    print(f"training_seconds: {seconds:.2f}")
    print(f"startup_seconds: {startup:.2f}")
    print(f"total_seconds: {time.perf_counter() - START:.2f}")
    print(f"peak_mem_mb: {peak_memory_mb():.1f}")
    print(f"num_steps: {steps}")
    print(f"num_bytes_M: {steps * BATCH_SIZE * SEQ_LEN / 1e6:.3f}")
    print(f"num_params_M: {sum(p.numel() for p in model.parameters()) / 1e6:.3f}")
    print(f"depth: {DEPTH}")
    print(f"width: {WIDTH}")


if __name__ == "__main__":
    main()
